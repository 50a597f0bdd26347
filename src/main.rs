//! The command line of Seatkeeper.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that cannot go on has failed"))]

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
