//! PostgreSQL: the pool, business transactions, error classes, migrations, roles, and the embedded server.

pub mod embedded;
mod error;
mod pool;
mod schema;
mod transaction;

pub use error::{ErrorClass, describe};
pub use pool::{connect_options, pool};
pub use schema::{MIGRATOR, Schema, needed, schema};
pub use transaction::{Timeouts, Transactions};
