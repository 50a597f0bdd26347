//! What a `postgres://` URL says. Nothing of it is passed over: what is not done is refused by its name.
//!
//! sqlx reads URLs too, and drops with a warning what it does not know, with its value: a misspelt `pasword=…` is in the log
//! then, and whoever wrote `channel_binding=require` believes in it. So a URL is read here and told to sqlx anew, in the one
//! form that it takes without loss: a parameter for each thing, and the rest of what it does (`~/.pgpass`, the variables of the
//! environment that libpq knows) is left to it.
//!
//! No message holds anything of a URL but the names of its parameters: passwords stand in it, and in unexpected places.

mod parameters;
mod protection;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use url::{ParseError, Url, form_urlencoded};

use parameters::Meaning;
pub use protection::Place;
use protection::Wanted;

/// Why a URL cannot be used, or a variable of the environment that goes with it.
#[derive(Debug, thiserror::Error)]
pub enum UnusableUrl {
    /// It is not understood, or asks for what is not done: in words that hold nothing of it but names.
    #[error("{0}")]
    NotUnderstood(Cow<'static, str>),
    /// This process could not begin to relay to the pooler that it leads to.
    #[error("the relay to the pooler could not be started: {0}")]
    NoRelay(#[from] io::Error),
}

impl UnusableUrl {
    pub(super) fn because(why: impl Into<Cow<'static, str>>) -> Self {
        Self::NotUnderstood(why.into())
    }
}

/// What a URL says.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) options: PgConnectOptions,
    /// Whether it leads to a pooler that lends its connections for a transaction at a time.
    pub(super) is_pooled: bool,
}

/// Reads a URL, and what the environment adds to it.
pub(super) fn read(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Said, UnusableUrl> {
    let url = parse(text)?;
    let mut parts = Parts::default();
    parts.read_authority(&url)?;
    parts.read_parameters(&url)?;
    parts.check_values()?;
    parts.check_environment(&variable)?;

    let wanted =
        Wanted::new(parts.values.remove("sslmode"), parts.values.contains_key("sslrootcert"), &variable)?;
    let is_pooled = parts.values.remove("pgbouncer").is_some_and(|value| value == "true");
    let is_named = parts.values.contains_key("application_name");
    // What it did not understand it would quote.
    let options = PgConnectOptions::from_str(&parts.as_parameters())
        .map_err(|_| UnusableUrl::because("it is not understood"))?;
    // Names the program to whoever looks at pg_stat_activity; a name in the URL wins.
    let options = if is_named { options } else { options.application_name("seatkeeper") };
    let options = wanted.settle(options)?;
    if !matches!(options.get_ssl_mode(), PgSslMode::Disable) {
        let file = |name: &str, known_as: &str| {
            parts
                .values
                .get(name)
                .cloned()
                .map(|value| (name.to_owned(), value))
                .or_else(|| variable(known_as).map(|value| (known_as.to_owned(), value)))
        };
        protection::check_files(
            file("sslrootcert", "PGSSLROOTCERT"),
            file("sslcert", "PGSSLCERT"),
            file("sslkey", "PGSSLKEY"),
        )?;
    }
    Ok(Said { options, is_pooled })
}

fn parse(text: &str) -> Result<Url, UnusableUrl> {
    const BEGINS: &str = "it does not begin with postgres:// or postgresql://";
    let (scheme, rest) = text.split_once("://").ok_or(UnusableUrl::because(BEGINS))?;
    if !["postgres", "postgresql"].contains(&scheme.to_ascii_lowercase().as_str()) {
        return Err(UnusableUrl::because(BEGINS));
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let hosts = authority.rsplit('@').next().unwrap_or_default();
    if hosts.contains(',') {
        return Err(several_hosts("it"));
    }
    let url = Url::parse(text).map_err(|error| match error {
        ParseError::EmptyHost => UnusableUrl::because(
            "it names a user or a port and no host; name all of them as parameters: postgres:///name?host=…&user=…",
        ),
        // A character of the password that ends it too soon leaves the rest of it as a port.
        ParseError::InvalidPort => UnusableUrl::because(
            "its port is no number; in a user or password write / as %2F, ? as %3F, # as %23, @ as %40 and : as %3A",
        ),
        // Its words are about URLs, and hold nothing of this one.
        error => UnusableUrl::because(error.to_string()),
    })?;
    if url.fragment().is_some() {
        return Err(UnusableUrl::because("it contains a #, which is written %23"));
    }
    Ok(url)
}

/// The things that it says, by the names that sqlx knows them under.
#[derive(Debug, Default)]
struct Parts {
    values: BTreeMap<String, String>,
}

impl Parts {
    fn read_authority(&mut self, url: &Url) -> Result<(), UnusableUrl> {
        let path = url.path().trim_start_matches('/');
        for (name, text) in [
            ("user", Some(url.username()).filter(|user| !user.is_empty())),
            ("password", url.password()),
            ("host", url.host_str().filter(|host| !host.is_empty())),
            ("dbname", Some(path).filter(|path| !path.is_empty())),
        ] {
            let Some(text) = text else { continue };
            let value = percent_decode_str(text)
                .decode_utf8()
                .map_err(|_| UnusableUrl::because(format!("its {name} is no UTF-8")))?;
            self.values.insert(name.to_owned(), value.into_owned());
        }
        if let Some(port) = url.port() {
            self.values.insert("port".to_owned(), port.to_string());
        }
        Ok(())
    }

    fn read_parameters(&mut self, url: &Url) -> Result<(), UnusableUrl> {
        let Some(query) = url.query() else { return Ok(()) };
        // What looks like a parameter may be the end of a password with a ? in it: then not even its name is shown.
        let is_torn = url.username().is_empty() && query.contains('@');
        let mut names = BTreeSet::new();
        for (written, value) in form_urlencoded::parse(query.as_bytes()) {
            if written.is_empty() && value.is_empty() {
                continue;
            }
            let (name, value) = match parameters::meaning(&written, &value) {
                Meaning::Said(name) => (name, value.into_owned()),
                Meaning::AsAlways => continue,
                Meaning::NotDone(advice) => {
                    return Err(UnusableUrl::because(format!("{written} is not understood here: {advice}")));
                }
                Meaning::Unknown if parameters::is_name(&written) && !value.is_empty() && !is_torn => {
                    return Err(UnusableUrl::because(format!(
                        "{written} is no parameter that is known; these are: {}",
                        parameters::KNOWN
                    )));
                }
                Meaning::Unknown => {
                    return Err(UnusableUrl::because(
                        "what follows its ? is not all parameters with values; in a password ? is written %3F, and & %26",
                    ));
                }
            };
            if !names.insert(name.clone()) {
                return Err(UnusableUrl::because(format!("{written} is said twice")));
            }
            // As in libpq, what a parameter says counts more than what stands before the ?.
            self.values.insert(name, value);
        }
        if names.contains("hostaddr") && self.values.contains_key("host") {
            return Err(UnusableUrl::because(
                "hostaddr is understood where no host is named; a name and its address at once are not",
            ));
        }
        Ok(())
    }

    fn check_values(&mut self) -> Result<(), UnusableUrl> {
        if let Some((name, _)) = self.values.iter().find(|(_, value)| value.contains('\0')) {
            return Err(UnusableUrl::because(format!("its {name} has a zero byte in it")));
        }
        if let Some(host) = self.values.get_mut("host") {
            check_host("its host", host)?;
            // The resolver does not know an address with brackets around it.
            *host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        }
        let is =
            |name: &str, good: &dyn Fn(&str) -> bool| self.values.get(name).is_none_or(|value| good(value));
        if !is("hostaddr", &|value| value.parse::<IpAddr>().is_ok()) {
            return Err(UnusableUrl::because("hostaddr is no IP address"));
        }
        if !is("port", &is_port) {
            return Err(UnusableUrl::because("its port is no number from 1 to 65535"));
        }
        if !is("pgbouncer", &|value| ["true", "false"].contains(&value)) {
            return Err(UnusableUrl::because("pgbouncer is true or false"));
        }
        if !is("statement-cache-capacity", &|value| value.parse::<usize>().is_ok()) {
            return Err(UnusableUrl::because("statement-cache-capacity is no number"));
        }
        Ok(())
    }

    /// What sqlx takes from the environment where the URL says nothing, and takes otherwise than it was meant.
    fn check_environment(&self, variable: &impl Fn(&str) -> Option<String>) -> Result<(), UnusableUrl> {
        let is_said = |name: &str| self.values.contains_key(name);
        if !is_said("host") && !is_said("hostaddr") {
            for name in ["PGHOST", "PGHOSTADDR"] {
                variable(name).map_or(Ok(()), |host| check_host(name, &host))?;
            }
        }
        if !is_said("port") && variable("PGPORT").is_some_and(|port| !port.is_empty() && !is_port(&port)) {
            return Err(UnusableUrl::because("PGPORT (environment) is no number from 1 to 65535"));
        }
        match parameters::not_done_of_environment(variable) {
            Some((name, advice)) => {
                Err(UnusableUrl::because(format!("{name} (environment) is not understood here: {advice}")))
            }
            None => Ok(()),
        }
    }

    /// All of it as parameters: for sqlx, which takes nothing off them but their encoding.
    fn as_parameters(&self) -> String {
        let base = "postgres:///?".to_owned();
        let begins = base.len();
        let mut query = form_urlencoded::Serializer::for_suffix(base, begins);
        query.extend_pairs(&self.values);
        query.finish()
    }
}

fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok_and(|port| port > 0)
}

fn check_host(whose: &str, host: &str) -> Result<(), UnusableUrl> {
    match host {
        "" => Err(UnusableUrl::because(format!("{whose} is empty"))),
        several if several.contains(',') => Err(several_hosts(whose)),
        _ => Ok(()),
    }
}

fn several_hosts(whose: &str) -> UnusableUrl {
    UnusableUrl::because(format!(
        "{whose} names several hosts: name one, or a proxy that leads to the one that can write"
    ))
}

#[cfg(test)]
mod tests;
