//! Integration tests: real PostgreSQL, a database per test.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod audit;
mod bad_input;
mod bench;
mod booking;
mod chores;
mod crash;
mod demo;
mod doctor;
mod doors;
mod embedded;
mod enqueue_verb;
mod freeze;
mod hardening;
mod histories;
mod idempotency;
mod import;
mod interleavings;
mod invariants;
mod lanes;
mod lost_words;
mod metrics;
mod migrations;
mod model;
mod monitoring;
mod old_snapshots;
mod operate;
mod order;
mod pooler;
mod producer_examples;
mod races;
mod roles;
mod schedule;
mod support;
mod surroundings;
mod tidy;
