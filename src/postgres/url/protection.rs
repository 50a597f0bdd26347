//! How a connection is protected: what was asked for, and what comes of it.
//!
//! Whoever says nothing gets from sqlx, as from libpq, what the server offers: without a word in plain text when that is
//! nothing, or when somebody on the way takes the offer out. So another machine is not reached in plain text unless it is asked
//! for by its name, and who brings the certificate of an authority has it looked at.

use std::fs::File;
use std::io::Read;
use std::net::IpAddr;

use sqlx::postgres::{PgConnectOptions, PgSslMode};

use super::UnusableUrl;

/// Where the other end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Behind a Unix socket: nothing leaves this machine, nor can it be encrypted.
    Socket,
    /// On this machine, by an address that says so.
    Here,
    /// On another machine, as far as can be known.
    Elsewhere,
}

impl Place {
    /// Where options lead.
    #[must_use]
    pub fn of(options: &PgConnectOptions) -> Self {
        if options.get_socket().is_some() {
            return Self::Socket;
        }
        Self::of_host(options.get_host())
    }

    /// Where a host is.
    #[must_use]
    pub fn of_host(host: &str) -> Self {
        if host.starts_with('/') {
            return Self::Socket;
        }
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        let is_here =
            name.parse::<IpAddr>().map_or(name == "localhost" || name.ends_with(".localhost"), |address| {
                address.to_canonical().is_loopback()
            });
        if is_here { Self::Here } else { Self::Elsewhere }
    }
}

/// What was asked for.
#[derive(Debug)]
pub(super) struct Wanted {
    mode: Option<PgSslMode>,
    /// The certificate of an authority is named in the URL itself.
    names_authority: bool,
    /// It is named there or in the environment.
    has_authority: bool,
}

impl Wanted {
    pub(super) fn new(
        mode: Option<String>,
        names_authority: bool,
        variable: &impl Fn(&str) -> Option<String>,
    ) -> Result<Self, UnusableUrl> {
        let (whose, mode) = match mode {
            Some(mode) => ("sslmode", Some(mode)),
            None => ("PGSSLMODE (environment)", variable("PGSSLMODE").filter(|mode| !mode.is_empty())),
        };
        let mode = mode.map(|mode| mode.parse::<PgSslMode>()).transpose().map_err(|_| {
            UnusableUrl::because(format!(
                "{whose} is none of disable, allow, prefer, require, verify-ca and verify-full"
            ))
        })?;
        let has_authority = names_authority || variable("PGSSLROOTCERT").is_some();
        Ok(Self { mode, names_authority, has_authority })
    }

    /// The options with what comes of it.
    pub(super) fn settle(&self, options: PgConnectOptions) -> Result<PgConnectOptions, UnusableUrl> {
        use PgSslMode::{Allow, Disable, Prefer, Require, VerifyCa, VerifyFull};
        let at_least = if self.has_authority { VerifyCa } else { Require };
        let mode = match (Place::of(&options), self.mode) {
            // As in libpq: there is nothing to encrypt.
            (Place::Socket, _) | (_, Some(Disable)) => Disable,
            (_, Some(VerifyFull)) => VerifyFull,
            (_, Some(VerifyCa)) if !self.has_authority => {
                return Err(UnusableUrl::because(
                    "sslmode=verify-ca needs the certificate of the authority (sslrootcert=FILE): any server has one of some \
                     authority; without it say sslmode=verify-full",
                ));
            }
            (_, Some(VerifyCa)) => VerifyCa,
            (_, Some(Require)) | (Place::Elsewhere, None | Some(Allow | Prefer)) => at_least,
            (Place::Here, None) if self.names_authority => VerifyCa,
            (Place::Here, mode) => mode.unwrap_or(Prefer),
        };
        Ok(options.ssl_mode(mode))
    }
}

/// What a certificate in a file, or in the environment itself, begins with.
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----";

/// All public authorities together are a fifth of it.
const LONGEST_FILE: u64 = 1 << 20;

/// Looks at the files before they are needed: sqlx would take one without a certificate in it for one with none to add, and one
/// that is not there for a server that is not.
pub(super) fn check_files(
    authority: Option<(String, String)>,
    certificate: Option<(String, String)>,
    key: Option<(String, String)>,
) -> Result<(), UnusableUrl> {
    if certificate.is_some() != key.is_some() {
        return Err(UnusableUrl::because("sslcert and sslkey are given together or not at all"));
    }
    for (name, value) in authority.iter().chain(&certificate) {
        if !content(name, value)?.contains(CERTIFICATE) {
            return Err(UnusableUrl::because(format!("{name}: there is no certificate in that file (PEM)")));
        }
    }
    if let Some((name, value)) = &key {
        content(name, value)?;
    }
    Ok(())
}

fn content(name: &str, value: &str) -> Result<String, UnusableUrl> {
    if value.trim_start().starts_with("-----BEGIN") && name.starts_with("PG") {
        return Ok(value.to_owned());
    }
    if value == "system" {
        return Err(UnusableUrl::because(format!(
            "{name}=system is not understood here: leave it out and say sslmode=verify-full, and the public authorities are \
             trusted that this program knows"
        )));
    }
    let mut bytes = Vec::new();
    File::open(value).and_then(|file| file.take(LONGEST_FILE + 1).read_to_end(&mut bytes)).map_err(
        |error| UnusableUrl::because(format!("{name}: that file cannot be read: {}", error.kind())),
    )?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > LONGEST_FILE) {
        return Err(UnusableUrl::because(format!(
            "{name}: that file is longer than {LONGEST_FILE} bytes, and so no certificate and no key"
        )));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
