//! The connection itself: as whom, over what, who can read along, and who it is that answers.

use sqlx::PgConnection;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use super::Finding;
use crate::postgres::{Place, host_behind};

const SUBJECT: &str = "connection";

/// How the server sees this connection, or a pooler's to it.
struct Seen {
    who: String,
    /// Protocol and cipher; `None` when it is not encrypted there.
    encryption: Option<String>,
}

pub(super) async fn finding(
    connection: &mut PgConnection,
    options: &PgConnectOptions,
) -> sqlx::Result<Finding> {
    let row = sqlx::query!(
        r#"-- doctor.connection
           select session_user::text as "session!", current_user::text as "current!",
                  (select concat_ws(', ', s.version, s.cipher) from pg_catalog.pg_stat_ssl s
                   where s.pid = pg_backend_pid() and s.ssl) as encryption"#
    )
    .fetch_one(connection)
    .await?;
    let who = if row.session == row.current {
        format!("as {}", row.session)
    } else {
        format!("as {} with the rights of {}", row.session, row.current)
    };
    let seen = Seen { who, encryption: row.encryption };
    Ok(match host_behind(options.get_port()).filter(|_| options.get_host() == "127.0.0.1") {
        Some(pooler) => through_pooler(&seen, Place::of_host(&pooler)),
        None => direct(&seen, Place::of(options), options.get_ssl_mode()),
    })
}

fn through_pooler(seen: &Seen, pooler: Place) -> Finding {
    let who = &seen.who;
    let beyond = match &seen.encryption {
        Some(encryption) => format!("from there to the server encrypted ({encryption})"),
        None => "from there to the server not encrypted".to_owned(),
    };
    if pooler == Place::Elsewhere {
        return Finding::warning(
            SUBJECT,
            format!("{who}, in plain text to a pooler on another machine; {beyond}"),
            "whoever is on the way can read and change everything: have the pooler on this machine, and let it encrypt",
        );
    }
    Finding::ok(SUBJECT, format!("{who}, through a pooler on this machine; {beyond}"))
}

fn direct(seen: &Seen, place: Place, mode: PgSslMode) -> Finding {
    const PROVE: &str = "have it prove who it is: sslmode=verify-full, and sslrootcert=FILE where no public authority has issued its \
                         certificate";
    let who = &seen.who;
    let where_to = match place {
        Place::Socket => return Finding::ok(SUBJECT, format!("{who}, over a Unix socket of this machine")),
        Place::Here => "on this machine",
        Place::Elsewhere => "to another machine",
    };
    let is_demanded = matches!(mode, PgSslMode::Require | PgSslMode::VerifyCa | PgSslMode::VerifyFull);
    let how = match &seen.encryption {
        Some(encryption) => format!("encrypted ({encryption})"),
        // Something between speaks TLS with us, and not with the server.
        None if is_demanded => "encrypted as far as a proxy, not from there to the server".to_owned(),
        None => "not encrypted".to_owned(),
    };
    let connected = format!("{who} {where_to}, {how}");
    match (place, mode) {
        (_, PgSslMode::VerifyFull) => {
            Finding::ok(SUBJECT, format!("{connected}; verified: authority and name"))
        }
        (Place::Elsewhere, PgSslMode::VerifyCa) => Finding::warning(
            SUBJECT,
            format!(
                "{connected}; verified: the authority alone, which may be any public one as well; whoever has a certificate of one can \
                 pass for this server"
            ),
            "say sslmode=verify-full, which compares the name too",
        ),
        (_, PgSslMode::VerifyCa) => {
            Finding::ok(SUBJECT, format!("{connected}; verified: the authority alone"))
        }
        (Place::Elsewhere, _) if is_demanded => Finding::warning(
            SUBJECT,
            format!("{connected}; not verified: it could be anybody who answers"),
            PROVE,
        ),
        (Place::Elsewhere, _) => Finding::warning(
            SUBJECT,
            format!("{connected}: whoever is on the way can read and change everything"),
            "take sslmode=disable away, and switch TLS on at the server (`ssl = on`)",
        ),
        (_, _) if seen.encryption.is_some() || is_demanded => {
            Finding::ok(SUBJECT, format!("{connected}; not verified"))
        }
        (_, _) => Finding::ok(SUBJECT, connected),
    }
}
