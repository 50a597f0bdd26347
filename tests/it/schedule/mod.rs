//! The schedule: what falls due is the database's business, by its clock and its rows.

mod faked_clock;
mod flags;
mod stored;
