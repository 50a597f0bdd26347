//! Authorities that exist for one test, and a server with their certificates.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, User};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use seatkeeper::postgres::embedded::{Embedded, Options};
use seatkeeper::postgres::{migrate, pool};
use tempfile::TempDir;

use crate::support::until;

/// Who issues certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate.
    pem: String,
}

/// A certificate with its key.
pub struct Issued {
    certificate: String,
    key: String,
}

/// When a certificate holds.
#[derive(Clone, Copy)]
pub enum Holds {
    Now,
    Formerly,
    Later,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for these names and addresses.
    pub fn issue(&self, names: &[&str], holds: Holds) -> Issued {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, "0.0.0.0");
        (params.not_before, params.not_after) = match holds {
            Holds::Now => (date_time_ymd(2020, 1, 1), date_time_ymd(2199, 1, 1)),
            Holds::Formerly => (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1)),
            Holds::Later => (date_time_ymd(2198, 1, 1), date_time_ymd(2199, 1, 1)),
        };
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Issued { certificate, key: key.serialize_pem() }
    }

    /// The one that it signs with, as a server's: what a hasty hand makes.
    pub fn itself(&self) -> Issued {
        Issued { certificate: self.pem.clone(), key: self.issuer.key().serialize_pem() }
    }

    /// Its certificate in a file.
    pub fn file(&self, dir: &Path) -> String {
        let path = dir.join(format!("authority-{}.pem", uuid::Uuid::new_v4()));
        fs::write(&path, &self.pem).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

/// A server that offers TLS, with the schema.
pub struct TlsServer {
    pub embedded: Embedded,
    dir: TempDir,
}

impl TlsServer {
    pub async fn start(presented: &Issued) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        write(dir.path(), presented);
        let mut options = Options::new(dir.path().join("data"));
        options.durable = false;
        let file = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        for (name, value) in [
            ("ssl", "on".to_owned()),
            ("ssl_cert_file", file("server.crt")),
            ("ssl_key_file", file("server.key")),
        ] {
            options.settings.push((name.to_owned(), value));
        }
        let embedded = Embedded::start(options).await.unwrap_or_else(|error| panic!("{error}"));
        let admin = pool(embedded.connect_options("postgres"), 2);
        migrate(&admin).await.unwrap();
        admin.close().await;
        Self { embedded, dir }
    }

    /// Where files of the test may be.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Its URL, without a word about TLS, by another address that leads to this machine.
    pub fn url(&self, host: &str, query: &str) -> String {
        let url = super::without_mode(&self.embedded.url("postgres"));
        format!("{}?{query}", url.replace("@127.0.0.1:", &format!("@{host}:")))
    }

    /// Presents another certificate from now on.
    pub async fn present(&self, other: &Issued) {
        write(self.dir.path(), other);
        let read = async || -> String {
            let fresh = pool(self.embedded.connect_options("postgres"), 1);
            // A new connection has it from the server's first process, together with the certificate.
            let read =
                sqlx::query_scalar("select pg_conf_load_time()::text").fetch_one(&fresh).await.unwrap();
            fresh.close().await;
            read
        };
        let before = read().await;
        let admin = pool(self.embedded.connect_options("postgres"), 1);
        sqlx::query("select pg_reload_conf()").execute(&admin).await.unwrap();
        admin.close().await;
        until("the server has read its certificate anew", async || read().await != before).await;
    }

    /// Stops it and takes it away.
    pub async fn remove(self) {
        self.embedded.remove().await.unwrap();
    }
}

fn write(dir: &Path, issued: &Issued) {
    let write = |name: &str, content: &str, mode: u32| -> PathBuf {
        let path = dir.join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    };
    write("server.crt", &issued.certificate, 0o644);
    let key = write("server.key", &issued.key, 0o600);
    if Uid::effective().is_root() {
        // Whom the server runs as, then.
        let account = ["postgres", "nobody"].iter().find_map(|name| User::from_name(name).unwrap()).unwrap();
        chown(&key, Some(account.uid.as_raw()), Some(account.gid.as_raw())).unwrap();
    }
}
