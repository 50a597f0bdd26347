//! Seatkeeper: the worker that answers enrollment and booking requests exactly once, under row locks, on PostgreSQL.

pub mod postgres;
