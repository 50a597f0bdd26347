//! The command line of Seatkeeper.

fn main() {}
