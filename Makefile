# Two commands: `make demo` shows the whole story in a minute, `make test` runs every test.
# Both install what is missing (scripts/setup says what) on a Debian system, as root or with sudo.

.PHONY: demo test setup fmt prepare

demo:
	@scripts/setup demo
	cargo build --quiet
	target/debug/seatkeeper demo $(ARGS)

test: setup
	scripts/test

setup:
	@scripts/setup

fmt:
	cargo fmt --all

# Rewrites .sqlx after a query or a migration changed
prepare: setup
	scripts/sqlx-prepare
