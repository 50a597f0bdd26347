//! Integration tests: real PostgreSQL, a database per test.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod doors;
mod demo;
mod embedded;
mod metrics;
mod operate;
mod model;
mod order;
mod races;
mod support;
mod tidy;
