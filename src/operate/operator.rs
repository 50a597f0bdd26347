//! Who acts.

/// The operator's name, as it is recorded with every action. The database adds the role that was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator(String);

impl Operator {
    /// This name, or else the one of the account that the process runs as.
    #[must_use]
    pub fn new(name: Option<String>) -> Self {
        let name = name.filter(|name| !name.trim().is_empty());
        Self(name.unwrap_or_else(|| {
            let uid = nix::unistd::Uid::current();
            match nix::unistd::User::from_uid(uid) {
                Ok(Some(user)) => user.name,
                _ => format!("uid {uid}"),
            }
        }))
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }
}
