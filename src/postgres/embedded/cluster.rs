//! Makes the cluster once, and reads what belongs to it.

use std::ffi::OsString;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::{Duration, Instant};

use super::binaries::Binaries;
use super::error::{EmbeddedError, io_error};
use super::files;
use super::guardian::Guardian;
use super::home::Home;

/// The superuser that `initdb` makes.
pub(super) const SUPERUSER: &str = "postgres";

/// Beginning of the names of clusters that are not complete.
const DRAFT: &str = "draft-";

/// More than initdb ever takes, also on a busy machine.
const INITDB_LIMIT: Duration = Duration::from_secs(180);

/// Lines of a log that an error message quotes.
const QUOTED: usize = 15;

/// How much of the end of a log is read for that, bytes.
const QUOTED_BYTES: u64 = 16 * 1024;

/// Major version that the cluster was made by, or None when there is no cluster yet.
pub(super) fn made_by(home: &Home) -> Result<Option<String>, EmbeddedError> {
    let version = files::text_of(&home.data().join("PG_VERSION"), home.account.uid)?;
    Ok(version.map(|version| String::from_utf8_lossy(&version).trim().to_owned()))
}

/// A password that nobody guesses.
pub(super) fn secret() -> String {
    format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>())
}

/// The superuser's password; makes one if there is no cluster yet. Blocks.
pub(super) fn password(home: &Home) -> Result<String, EmbeddedError> {
    let path = home.password_file();
    if made_by(home)?.is_none() {
        let secret = secret();
        let script = r#"umask 077; rm -f "$1.new"; cat > "$1.new" && mv -f "$1.new" "$1""#;
        home.account
            .sh_ok(script, &[path.as_os_str()], &format!("{secret}\n"))
            .map_err(io_error("write", &path))?;
        return Ok(secret);
    }
    let text = files::text_of(&path, home.account.uid)?.ok_or_else(|| {
        io_error("read the cluster's password in", &path)(io::Error::from(io::ErrorKind::NotFound))
    })?;
    Ok(String::from_utf8_lossy(&text).trim().to_owned())
}

/// Removes what an interrupted [`create`] has left. Blocks.
pub(super) fn sweep(home: &Home) {
    let script = format!(r#"rm -rf "$1"/{DRAFT}*"#);
    // An initdb that its guardian is just stopping may still write there: the next start has the rest.
    let _ = home.account.sh(&script, &[home.dir.as_os_str()], "");
}

/// Runs initdb in a directory beside the final one, which is then renamed: a cluster is whole or absent,
/// whenever we are killed.
pub(super) async fn create(home: &Home, binaries: &Binaries, durable: bool) -> Result<(), EmbeddedError> {
    let data = home.data();
    let draft = home.dir.join(format!("{DRAFT}{:016x}", rand::random::<u64>()));
    let log = home.dir.join("initdb.log");
    let fresh = r#"rm -f "$1""#;
    home.account.sh_ok(fresh, &[log.as_os_str()], "").map_err(io_error("remove", &log))?;

    // Over TCP and over sockets nobody gets in without the password. The locale C is the only one that is
    // everywhere, and it makes text order (and so indexes) independent of the system's libraries.
    let mut args = vec![
        OsString::from("--encoding=UTF8"),
        OsString::from("--locale=C"),
        OsString::from("--auth=scram-sha-256"),
        OsString::from(format!("--username={SUPERUSER}")),
        option("--pwfile=", &home.password_file()),
        option("--pgdata=", &draft),
    ];
    if !durable {
        args.push(OsString::from("--no-sync"));
    }
    let mut guardian = Guardian::spawn(&home.account, &log, &binaries.program("initdb"), args)?;
    let ended = guardian.wait(Instant::now() + INITDB_LIMIT).await;
    let failed = |problem: String| EmbeddedError::InitFailed {
        data: data.clone(),
        problem,
        log: last_lines(&since(home, &log, 0)),
    };
    match ended {
        Some(status) if status.success() => {}
        Some(status) => return Err(failed(status.to_string())),
        None => return Err(failed(format!("not done after {} s", INITDB_LIMIT.as_secs()))),
    }
    let keep = r#"mv "$1" "$2""#;
    home.account
        .sh_ok(keep, &[draft.as_os_str(), data.as_os_str()], "")
        .map_err(io_error("rename the new cluster to", &data))
}

/// `--name=` with a path, which need not be valid Unicode.
fn option(name: &str, path: &Path) -> OsString {
    let mut option = OsString::from(name);
    option.push(path);
    option
}

/// Length of the server's log now, bytes.
pub(super) fn length(home: &Home) -> u64 {
    home.log().symlink_metadata().map_or(0, |found| found.len())
}

/// What was written to a log after its first `start` bytes, or the end of that if it is long.
pub(super) fn since(home: &Home, log: &Path, start: u64) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let file = files::owned(log, home.account.uid).ok().flatten();
        let mut file = file.ok_or(io::ErrorKind::NotFound)?;
        let from = start.max(file.metadata()?.len().saturating_sub(QUOTED_BYTES));
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(QUOTED_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    // It only goes into messages: no log is no reason to fail.
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}

/// The end of a text, as much as fits a message.
pub(super) fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    if lines.is_empty() {
        return "(nothing)".to_owned();
    }
    lines[lines.len().saturating_sub(QUOTED)..].join("\n")
}
