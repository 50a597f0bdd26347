//! Servers that answer and are not trusted: what is wrong with them, and what to do about it.
//!
//! To sqlx a certificate that was refused is an input error like a cable that was pulled; an operator would look for a server that
//! is not there.

use rustls::{CertificateError, Error as TlsError};

/// Why the connection was not made though somebody answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distrust {
    /// What is wrong: a predicate of the server.
    pub what: String,
    /// What to do about it.
    pub todo: &'static str,
    /// Whether it lasts until somebody does something about it, here or there. Else the connection broke.
    pub lasts: bool,
}

/// What an error says about the protection of a connection; `None` when it is about anything else.
#[must_use]
pub fn distrust(error: &sqlx::Error) -> Option<Distrust> {
    match error {
        sqlx::Error::Io(error) => error.get_ref()?.downcast_ref().map(of_handshake),
        sqlx::Error::Tls(error) => Some(error.downcast_ref().map_or_else(
            // Its words may hold the name or the content of a file.
            || match error.to_string().contains("does not support TLS") {
                true => lasting(
                    "it offers no TLS",
                    "switch it on there (`ssl = on`), or say sslmode=disable if all may be read and changed on the way",
                ),
                false => lasting(
                    "TLS could not be prepared for it",
                    "check the files of sslrootcert, sslcert and sslkey, and that the host is a name or an address",
                ),
            },
            of_handshake,
        )),
        _ => None,
    }
}

fn lasting(what: impl Into<String>, todo: &'static str) -> Distrust {
    Distrust { what: what.into(), todo, lasts: true }
}

fn of_handshake(error: &TlsError) -> Distrust {
    match error {
        TlsError::InvalidCertificate(error) => of_certificate(error),
        TlsError::AlertReceived(alert) => Distrust {
            what: format!("it ended the talk about TLS ({alert:?})"),
            todo: "if it wants to see a certificate of this program, name one with sslcert and sslkey",
            lasts: false,
        },
        other => Distrust {
            what: format!("TLS with it did not come about or broke ({other})"),
            todo: "check that PostgreSQL answers on that port, and that it takes TLS 1.2 or 1.3",
            lasts: false,
        },
    }
}

fn of_certificate(error: &CertificateError) -> Distrust {
    const SAME_CLOCK: &str =
        "compare the clocks of both machines, and have the server present a certificate that is valid";
    match error {
        CertificateError::UnknownIssuer => lasting(
            "nobody who is trusted here has issued its certificate",
            "name the certificate of the authority that did with sslrootcert=FILE",
        ),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            lasting("its certificate has expired", "have the server present a new one")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            lasting("its certificate is not valid yet", SAME_CLOCK)
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => lasting(
            "its certificate is for another name",
            "reach it by a name that its certificate has as subjectAltName (the common name does not count), or have one issued \
             for this name",
        ),
        other if other.to_string().contains("CaUsedAsEndEntity") => lasting(
            "its certificate is that of an authority (CA:TRUE)",
            "have that authority issue one for the server, and name the authority's with sslrootcert=FILE",
        ),
        other => {
            lasting(format!("its certificate was refused ({other})"), "have the server present another one")
        }
    }
}
