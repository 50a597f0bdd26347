//! Integration tests: real PostgreSQL, a database per test.

mod embedded;
