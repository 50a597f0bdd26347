//! The command line of Seatkeeper.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
