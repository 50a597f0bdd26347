//! The roll call: what it finds, what it cannot evaluate, and what it says.

mod advice;
mod counterexamples;
mod every_guard;
mod guards;
mod harms;
mod rows;
mod runs;
mod scraped;
mod snapshot;
mod verb;
mod words;
