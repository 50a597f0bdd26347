//! PostgreSQL: the pool, business transactions, error classes, migrations, roles, the way through a pooler, and the embedded server.

mod distrust;
pub mod embedded;
mod error;
mod fitness;
mod history;
mod holders;
mod migration;
mod open_transactions;
mod opening;
mod outdated;
mod pool;
mod relay;
pub mod roles;
mod schema;
mod silence;
mod transaction;
mod url;

pub use distrust::{Distrust, distrust};
pub use error::{ErrorClass, describe};
pub use fitness::{SequenceBehind, obstacles, sequences_behind};
pub use history::Position;
pub use holders::Holders;
pub use migration::{MigrationError, migrate};
pub use open_transactions::{OpenTransaction, open_transactions};
pub use opening::opening;
pub use outdated::{note_unusable, retire_connections};
pub use pool::{connect_options, pool, pool_set_up};
pub use relay::host_behind;
pub use roles::{ROLES, ROLES_SQL, apply_roles};
pub use schema::{MIGRATOR, Schema, needed, schema};
pub use silence::{Silence, note_silence, replication_waits, unless_given_up, unless_silent};
pub use transaction::{Timeouts, Transactions, WALK_INDEXES, begin_chore};
pub use url::{Place, UnusableUrl};
