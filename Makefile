# Two commands: `make demo` shows the whole story in a minute, `make test` runs every test.
# Both install what is missing (scripts/setup says what) on a Debian system, as root or with sudo.

.PHONY: demo test proof setup fmt prepare

demo:
	@scripts/setup demo
	cargo build --quiet
	target/debug/seatkeeper demo $(ARGS)

test: setup
	scripts/test

# The long version: every cell of the crash matrix, the times of recovery, failover, other versions of PostgreSQL
proof: setup
	@scripts/setup failover
	scripts/proof

setup:
	@scripts/setup

fmt:
	cargo fmt --all

# Rewrites .sqlx after a query or a migration changed
prepare: setup
	scripts/sqlx-prepare
