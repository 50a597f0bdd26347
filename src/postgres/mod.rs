//! PostgreSQL: the connection pool and its settings, error classes, migrations, roles, and the embedded server.
