//! The parameters of a URL: those that are understood, and what becomes of the others that libpq has.

/// What is understood, for who has misspelt it.
pub(super) const KNOWN: &str = "host, hostaddr, port, dbname, user, password, application_name, options, options[name], \
                                sslmode, sslrootcert, sslcert, sslkey, statement-cache-capacity, pgbouncer";

/// What is understood, and the other names that sqlx has for it.
const SAID: [(&str, &[&str]); 14] = [
    ("host", &[]),
    ("hostaddr", &[]),
    ("port", &[]),
    ("dbname", &[]),
    ("user", &[]),
    ("password", &[]),
    ("application_name", &[]),
    ("options", &[]),
    ("sslmode", &["ssl-mode"]),
    ("sslrootcert", &["ssl-root-cert", "ssl-ca"]),
    ("sslcert", &["ssl-cert"]),
    ("sslkey", &["ssl-key"]),
    ("statement-cache-capacity", &[]),
    ("pgbouncer", &[]),
];

/// A parameter of libpq that is not done.
struct NotDone {
    name: &'static str,
    /// The variable that says the same, where it asks for protection or for another server. The others are settings of whoever
    /// uses libpq for other things as well.
    variable: &'static str,
    /// Values that ask for nothing that is not so anyway.
    as_always: &'static [&'static str],
    advice: &'static str,
}

const ONE_SERVER: &str = "leave it out, and name an address that leads to the server that can write";
const TIMEOUTS: &str = "leave it out; a server that does not answer is tried again, and a connection that falls silent is given up \
                        (`run --statement-timeout`)";
const VERIFY: &str = "leave it out, and have the server prove who it is with sslmode=verify-full";
const TLS: &str = "leave it out; protection is TLS (sslmode=verify-full)";
const AT_THE_SERVER: &str = "leave it out, and have the server demand it";
const SERVICE: &str = "pg_service.conf is not read; name host, database and user in the URL";
const REVOKED: &str = "lists of revoked certificates are not read";
const LEAVE_OUT: &str = "leave it out";

const NOT_DONE: [NotDone; 37] = [
    not_done("target_session_attrs", "PGTARGETSESSIONATTRS", &["any"], ONE_SERVER),
    not_done("load_balance_hosts", "PGLOADBALANCEHOSTS", &["disable"], ONE_SERVER),
    not_done("connect_timeout", "", &[], TIMEOUTS),
    not_done("keepalives", "", &[], TIMEOUTS),
    not_done("keepalives_idle", "", &[], TIMEOUTS),
    not_done("keepalives_interval", "", &[], TIMEOUTS),
    not_done("keepalives_count", "", &[], TIMEOUTS),
    not_done("tcp_user_timeout", "", &[], TIMEOUTS),
    not_done("service", "PGSERVICE", &[], SERVICE),
    not_done("servicefile", "", &[], SERVICE),
    not_done("passfile", "", &[], "the variable PGPASSFILE names that file"),
    not_done("require_auth", "PGREQUIREAUTH", &[], VERIFY),
    not_done("channel_binding", "PGCHANNELBINDING", &["disable", "prefer"], VERIFY),
    not_done(
        "requirepeer",
        "PGREQUIREPEER",
        &[],
        "leave it out, and keep others from the directory of the socket",
    ),
    not_done("requiressl", "PGREQUIRESSL", &["0"], "it is spelt sslmode=require"),
    not_done("sslnegotiation", "PGSSLNEGOTIATION", &["postgres"], LEAVE_OUT),
    not_done("sslcompression", "", &["0"], LEAVE_OUT),
    not_done("sslsni", "", &["1"], LEAVE_OUT),
    not_done(
        "sslpassword",
        "",
        &[],
        "give sslkey a key without a password, in a file that nobody else can read",
    ),
    not_done(
        "sslcertmode",
        "PGSSLCERTMODE",
        &["allow"],
        "leave it out; sslcert and sslkey are sent when the server asks",
    ),
    not_done("sslcrl", "PGSSLCRL", &[], REVOKED),
    not_done("sslcrldir", "PGSSLCRLDIR", &[], REVOKED),
    not_done("sslkeylogfile", "", &[], LEAVE_OUT),
    not_done(
        "ssl_min_protocol_version",
        "PGSSLMINPROTOCOLVERSION",
        &["tlsv1", "tlsv1.1", "tlsv1.2"],
        AT_THE_SERVER,
    ),
    not_done("ssl_max_protocol_version", "PGSSLMAXPROTOCOLVERSION", &["tlsv1.3"], AT_THE_SERVER),
    not_done("gssencmode", "PGGSSENCMODE", &["disable", "prefer"], TLS),
    not_done("gssdelegation", "", &["0"], TLS),
    not_done("gsslib", "", &[], TLS),
    not_done("krbsrvname", "", &[], TLS),
    not_done("client_encoding", "", &["utf8", "utf-8", "unicode"], "leave it out; it is always UTF8"),
    not_done("replication", "", &["false", "off", "no", "0"], LEAVE_OUT),
    not_done("fallback_application_name", "", &[], "it is spelt application_name"),
    not_done("min_protocol_version", "PGMINPROTOCOLVERSION", &["3.0"], LEAVE_OUT),
    not_done("max_protocol_version", "", &["3.0", "3.2", "latest"], LEAVE_OUT),
    not_done("schema", "", &[], "leave it out; everything lives in the schema seatkeeper"),
    not_done("search_path", "", &[], "leave it out; everything lives in the schema seatkeeper"),
    not_done("connection_limit", "", &[], "leave it out; `run --workers` decides how many there are"),
];

const fn not_done(
    name: &'static str,
    variable: &'static str,
    as_always: &'static [&'static str],
    advice: &'static str,
) -> NotDone {
    NotDone { name, variable, as_always, advice }
}

impl NotDone {
    fn is_as_always(&self, value: &str) -> bool {
        self.as_always.contains(&value.to_ascii_lowercase().as_str())
    }
}

/// What a parameter is to us.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It is understood, and sqlx knows it under this name.
    Said(String),
    /// It asks for nothing that is not so anyway.
    AsAlways,
    /// libpq does it, and it is not done here; what to do instead.
    NotDone(&'static str),
    /// Nobody knows it.
    Unknown,
}

/// What a parameter says.
pub(super) fn meaning(name: &str, value: &str) -> Meaning {
    if let Some((name, _)) = SAID.iter().find(|(known, others)| *known == name || others.contains(&name)) {
        return Meaning::Said((*name).to_owned());
    }
    let setting = name.strip_prefix("options[").and_then(|rest| rest.strip_suffix(']'));
    if setting.is_some_and(is_name) {
        return Meaning::Said(name.to_owned());
    }
    match NOT_DONE.iter().find(|known| known.name == name) {
        Some(known) if known.is_as_always(value) => Meaning::AsAlways,
        Some(known) => Meaning::NotDone(known.advice),
        None => Meaning::Unknown,
    }
}

/// The first variable of the environment that asks for protection, or for another server, in a way that is not done.
pub(super) fn not_done_of_environment(
    variable: &impl Fn(&str) -> Option<String>,
) -> Option<(&'static str, &'static str)> {
    NOT_DONE
        .iter()
        .filter(|known| !known.variable.is_empty())
        .find(|known| {
            variable(known.variable).is_some_and(|value| !value.is_empty() && !known.is_as_always(&value))
        })
        .map(|known| (known.variable, known.advice))
}

/// Whether it may be shown: it looks like the name of a parameter, and not like a piece of something else.
pub(super) fn is_name(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    text.len() <= 40
        && text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic())
        && text.bytes().all(is_part)
}
