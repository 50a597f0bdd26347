//! What URLs say, and what is refused.

use sqlx::postgres::{PgConnectOptions, PgSslMode};

use super::{Place, Said, read};

fn options(url: &str) -> PgConnectOptions {
    said(url, &[]).options
}

fn said(url: &str, environment: &[(&str, &str)]) -> Said {
    read(url, |name| of(environment, name)).unwrap_or_else(|error| panic!("{url}: {error}"))
}

fn refusal(url: &str, environment: &[(&str, &str)]) -> String {
    match read(url, |name| of(environment, name)) {
        Ok(said) => panic!("{url}: {said:?}"),
        Err(error) => error.to_string(),
    }
}

fn of(environment: &[(&str, &str)], name: &str) -> Option<String> {
    environment.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
}

fn mode(url: &str, environment: &[(&str, &str)]) -> String {
    format!("{:?}", said(url, environment).options.get_ssl_mode())
}

#[test]
fn what_it_says_is_taken() {
    let read = options("postgres://me:p%40ss@db.example:6000/my%20data");
    assert_eq!((read.get_host(), read.get_port()), ("db.example", 6000));
    assert_eq!((read.get_username(), read.get_database()), ("me", Some("my data")));
    assert_eq!(read.get_application_name(), Some("seatkeeper"));
    assert!(format!("{read:?}").contains("\"p@ss\""), "{read:?}");
    let named =
        options("postgresql://h/d?application_name=mine&options[role]=reader&options=-c%20work_mem%3D8MB");
    assert_eq!(named.get_application_name(), Some("mine"));
    let given = named.get_options().unwrap();
    assert!(given.contains("-c role=reader") && given.contains("-c work_mem=8MB"), "{given}");
}

#[test]
fn a_parameter_counts_more_than_what_stands_before_it() {
    let read = options("postgres://a@localhost:1/b?host=/run/x%20y&user=c&port=2&dbname=d&password=e%26f");
    assert_eq!((read.get_username(), read.get_port(), read.get_database()), ("c", 2, Some("d")));
    assert_eq!(read.get_socket().unwrap().to_str(), Some("/run/x y"));
    assert!(format!("{read:?}").contains("\"e&f\""), "{read:?}");
    assert!(options("postgres://%2Frun%2Fpostgresql/d").get_socket().is_some());
}

#[test]
fn an_address_of_ipv6_loses_its_brackets() {
    assert_eq!(options("postgres://u:p@[::1]:7/d").get_host(), "::1");
    assert_eq!(options("postgres:///d?host=[2001:db8::7]").get_host(), "2001:db8::7");
    assert_eq!(options("postgres:///d?hostaddr=::1").get_host(), "::1");
}

#[test]
fn what_asks_for_nothing_else_than_what_is_so_is_taken() {
    for parameter in [
        "target_session_attrs=any",
        "channel_binding=prefer",
        "gssencmode=disable",
        "sslcompression=0",
        "client_encoding=UTF8",
        "ssl_min_protocol_version=TLSv1.2",
    ] {
        assert_eq!(options(&format!("postgres://h/d?{parameter}")).get_host(), "h");
    }
}

#[test]
fn what_is_not_done_is_refused_by_its_name_and_nothing_else_is_shown() {
    for name in [
        "target_session_attrs",
        "channel_binding",
        "connect_timeout",
        "keepalives",
        "keepalives_idle",
        "service",
        "require_auth",
        "sslcrl",
        "ssl_min_protocol_version",
        "pasword",
        "sslMode",
        "ssl_mode",
    ] {
        let why = refusal(&format!("postgres://me:s3cret@h/d?{name}=s3cret"), &[]);
        assert!(why.contains(name) && !why.contains("s3cret"), "{why}");
    }
    for url in [
        "",
        "s3cret",
        "mysql://me:s3cret@h/d",
        "http://s3cret/",
        "host=h password=s3cret",
        "postgres:s3cret",
        "postgres://me:s3cret/x@h/d",
        "postgres://me:12?s3cret@h/d",
        "postgres://me:12?a=s3cret@h/d",
        "postgres://me:12#s3cret@h/d",
        "postgres://h/d#s3cret",
        "postgres://me:s3cret@/d",
        "postgres://me:s3cret@h1,h2/d",
        "postgres://me:s3cret@h1:1,h2:2/d",
        "postgres://me:s3cret@h/d?host=a,b",
        "postgres://me:s3cret@h/d?host=",
        "postgres://me:s3cret@h/d?hostaddr=10.0.0.1",
        "postgres:///d?hostaddr=s3cret",
        "postgres://me:s3cret@h:70000/d",
        "postgres://me:s3cret@h:0/d",
        "postgres://h/d?port=s3cret",
        "postgres://h/d?port=1,2",
        "postgres://h/d?sslmode=s3cret",
        "postgres://h/d?sslmode=",
        "postgres://h/d?pgbouncer=s3cret",
        "postgres://h/d?statement-cache-capacity=s3cret",
        "postgres://h/d?user=a&user=s3cret",
        "postgres://h/d?sslmode=require&ssl-mode=disable",
        "postgres://h/d?options[role=s3cret",
        "postgres://h/d?options[]=s3cret",
        "postgres://h/d?s3cret",
        "postgres://h/d?a=b&s3cret=",
        "postgres://me:s3cret@h/d%00x",
        "postgres://me%FF:s3cret@h/d",
        "postgres://h/d?sslrootcert=/s3cret/nowhere",
        "postgres://h/d?sslcert=/s3cret/nowhere",
        "postgres://h/d?sslrootcert=system",
        "postgres://h/d?sslmode=verify-ca",
        "postgres://[::s3cret]/d",
    ] {
        let why = refusal(url, &[]);
        assert!(!why.contains("s3cret"), "{url}: {why}");
    }
}

#[test]
fn several_hosts_are_refused_as_such() {
    for url in ["postgres://h1,h2/d", "postgres://u:p@h1:1,h2:2/d", "postgres:///d?host=h1,h2"] {
        assert!(refusal(url, &[]).contains("several hosts"), "{url}");
    }
    assert_eq!(options("postgres://u:p,q@h/d").get_host(), "h");
}

#[test]
fn what_the_environment_adds_obeys_the_same_rules() {
    for (variables, name) in [
        (vec![("PGSSLMODE", "s3cret")], "PGSSLMODE"),
        (vec![("PGCHANNELBINDING", "require")], "PGCHANNELBINDING"),
        (vec![("PGTARGETSESSIONATTRS", "read-write")], "PGTARGETSESSIONATTRS"),
        (vec![("PGSERVICE", "s3cret")], "PGSERVICE"),
        (vec![("PGSSLROOTCERT", "/s3cret/nowhere")], "PGSSLROOTCERT"),
    ] {
        let why = refusal("postgres://h/d", &variables);
        assert!(why.contains(name) && !why.contains("s3cret"), "{why}");
    }
    for (name, value) in [("PGHOST", "h1,h2"), ("PGHOSTADDR", ""), ("PGPORT", "54x")] {
        assert!(refusal("postgres:///d", &[(name, value)]).contains(name), "{name}");
        assert_eq!(said("postgres://h:1/d", &[(name, value)]).options.get_host(), "h", "it is not asked for");
    }
    let harmless = [("PGCHANNELBINDING", "prefer"), ("PGCONNECT_TIMEOUT", "10"), ("PGSSLMODE", "")];
    assert_eq!(mode("postgres://h/d", &harmless), "Require");
}

#[test]
fn another_machine_is_reached_encrypted_unless_the_contrary_is_said() {
    for host in ["db", "10.0.0.1", "0.0.0.0", "[2001:db8::1]", "localhost.example", "127.example"] {
        for query in ["", "?sslmode=allow", "?sslmode=prefer", "?sslmode=require"] {
            assert_eq!(mode(&format!("postgres://{host}/d{query}"), &[]), "Require", "{host}{query}");
        }
        assert_eq!(mode(&format!("postgres://{host}/d?sslmode=disable"), &[]), "Disable");
        assert_eq!(mode(&format!("postgres://{host}/d?sslmode=verify-full"), &[]), "VerifyFull");
        for wish in ["allow", "prefer"] {
            assert_eq!(mode(&format!("postgres://{host}/d"), &[("PGSSLMODE", wish)]), "Require");
        }
        assert_eq!(mode(&format!("postgres://{host}/d"), &[("PGSSLMODE", "disable")]), "Disable");
        assert_eq!(
            mode(&format!("postgres://{host}/d?sslmode=prefer"), &[("PGSSLMODE", "disable")]),
            "Require"
        );
    }
    for host in
        ["localhost", "LOCALHOST.", "a.localhost", "127.0.0.1", "127.9.9.9", "[::1]", "[::ffff:127.0.0.1]"]
    {
        assert_eq!(mode(&format!("postgres://{host}/d"), &[]), "Prefer", "{host}");
        assert_eq!(mode(&format!("postgres://{host}/d?sslmode=require"), &[]), "Require", "{host}");
    }
    assert_eq!(mode("postgres:///d?host=/run/postgresql&sslmode=verify-full", &[]), "Disable");
    assert_eq!(Place::of_host("/run/postgresql"), Place::Socket);
}

#[test]
fn the_certificate_of_an_authority_is_there_to_be_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let certificate = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
    let authority = file("ca.pem", certificate);
    let url = |host: &str, mode: &str| format!("postgres://{host}/d?sslrootcert={authority}{mode}");
    for wish in ["", "&sslmode=allow", "&sslmode=prefer", "&sslmode=require", "&sslmode=verify-ca"] {
        assert_eq!(mode(&url("db", wish), &[]), "VerifyCa", "{wish}");
    }
    assert_eq!(mode(&url("db", "&sslmode=verify-full"), &[]), "VerifyFull");
    assert_eq!(mode(&url("db", "&sslmode=disable"), &[]), "Disable");
    assert_eq!(mode(&url("localhost", ""), &[]), "VerifyCa");
    assert_eq!(mode(&url("localhost", "&sslmode=require"), &[]), "VerifyCa");
    let around = [("PGSSLROOTCERT", authority.as_str())];
    assert_eq!(mode("postgres://db/d", &around), "VerifyCa");
    assert_eq!(mode("postgres://db/d?sslmode=require", &around), "VerifyCa");
    assert_eq!(mode("postgres://localhost/d", &around), "Prefer", "nobody spoke of this database");
    let inline = [("PGSSLROOTCERT", certificate)];
    assert_eq!(mode("postgres://db/d?sslmode=verify-ca", &inline), "VerifyCa");

    let empty = file("empty.pem", "nothing\n");
    assert!(refusal(&format!("postgres://db/d?sslrootcert={empty}"), &[]).contains("sslrootcert"));
    // Nor is a file read that has no end.
    let long = file("long", &format!("-----BEGIN CERTIFICATE-----{}", " ".repeat(1 << 20)));
    for (parameter, name) in [
        ("sslrootcert=LONG", "sslrootcert"),
        ("sslcert=LONG&sslkey=LONG", "sslcert"),
        ("sslcert=AUTHORITY&sslkey=LONG", "sslkey"),
    ] {
        let parameter = parameter.replace("LONG", &long).replace("AUTHORITY", &authority);
        let refused = refusal(&format!("postgres://db/d?{parameter}"), &[]);
        assert!(refused.contains(&format!("{name}: ")) && refused.contains("1048576 bytes"), "{refused}");
    }
    assert!(refusal(&format!("postgres://db/d?sslcert={authority}"), &[]).contains("sslkey"));
    assert!(matches!(
        options(&format!("postgres://db/d?sslcert={authority}&sslkey={empty}")).get_ssl_mode(),
        PgSslMode::Require
    ));
}
