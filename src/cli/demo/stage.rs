//! The throw-away database that the demo plays on.

use std::path::Path;

use seatkeeper::postgres;
use seatkeeper::postgres::embedded::{Embedded, Options};
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;

use super::plan::{CAMP, CAMP_COST, CUP, CUP_COST, CampPlaces, EVENING, MORNING, NOON};
use crate::cli::Failure;
use crate::cli::database::as_worker;

/// The database on the embedded server; dropped and made again by every demo.
const DATABASE: &str = "seatkeeper_demo";
/// What the server lets in: the crowd, the naive crowd, the workers and whoever looks on.
const MAX_CONNECTIONS: u32 = 300;

/// An embedded server with a fresh database on it.
pub struct Stage {
    server: Embedded,
    /// For looking on.
    pub pool: PgPool,
    /// For the workers, with their rights.
    pub workers: PgPool,
}

impl Stage {
    /// Starts the server of the data directory and makes the database anew.
    pub async fn build(data_dir: &Path, connections: u32) -> Result<Self, Failure> {
        let mut options = Options::new(data_dir);
        options.settings.push(("max_connections".into(), MAX_CONNECTIONS.to_string()));
        let server = Embedded::start(options).await?;
        let admin = postgres::pool(server.connect_options("postgres"), 1);
        sqlx::query("drop database if exists seatkeeper_demo with (force)").execute(&admin).await?;
        sqlx::query("create database seatkeeper_demo").execute(&admin).await?;
        admin.close().await;
        let pool = postgres::pool(connect_options(&server), connections);
        postgres::migrate(&pool).await.map_err(|error| Failure::unable(error.to_string()))?;
        let options = as_worker(&server, &pool, DATABASE).await?.application_name("seatkeeper demo");
        let workers = postgres::pool(options, connections);
        Ok(Self { server, pool, workers })
    }

    /// Adds the players, the two semesters and the sessions of the camp, a month from now.
    pub async fn seed(&self, players: i64, seats: i32, camp: CampPlaces) -> Result<(), Failure> {
        sqlx::query!(
            "-- demo.seed_users
             insert into seatkeeper.users (user_id) select generate_series(1, $1::bigint)",
            players
        )
        .execute(&self.pool)
        .await?;
        sqlx::query!(
            "-- demo.seed_semesters
             insert into seatkeeper.semesters (semester_id, code, name, status, max_players, enrollment_cost)
             values ($1, 'CUP', 'Summer Cup', 'ENROLLMENT_OPEN', $2, $3),
                    ($4, 'CAMP', 'Open Camp', 'ENROLLMENT_OPEN', null, $5)",
            CUP,
            seats,
            CUP_COST,
            CAMP,
            CAMP_COST
        )
        .execute(&self.pool)
        .await?;
        sqlx::query!(
            "-- demo.seed_sessions
             insert into seatkeeper.sessions (session_id, semester_id, starts_at, ends_at, capacity)
             select s.session_id, $1, d.day + s.hour * interval '1 hour', d.day + (s.hour + 2) * interval '1 hour', s.places
             from (values ($2::bigint, 9, $3::integer), ($4, 10, $5), ($6, 18, 0)) s (session_id, hour, places),
                  (select date_trunc('day', clock_timestamp()) + interval '30 days') d (day)",
            CAMP,
            MORNING,
            camp.morning,
            NOON,
            camp.noon,
            EVENING
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// How the crowd gets in.
    pub fn connect_options(&self) -> PgConnectOptions {
        connect_options(&self.server)
    }

    /// Where the database is reached, with its password.
    pub fn url(&self) -> String {
        self.server.url(DATABASE)
    }

    /// The server's major version.
    pub fn version(&self) -> u32 {
        self.server.version()
    }

    /// Lets everybody go and stops the server; the database stays until the next demo.
    pub async fn close(self) -> Result<(), Failure> {
        self.workers.close().await;
        self.pool.close().await;
        Ok(self.server.stop().await?)
    }
}

fn connect_options(server: &Embedded) -> PgConnectOptions {
    server.connect_options(DATABASE).application_name("seatkeeper demo")
}
