//! Plays a history on a database of its own. IDs that the database draws are told as "the third booking", since how many
//! are drawn and not used depends on the batches.

use std::collections::HashMap;
use std::fmt::Write as _;

use seatkeeper::batch::{Limits, Turn, Worker};
use seatkeeper_jobs::Receipt;
use serde_json::Value;
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use crate::support::{TestDb, plain_sql};

/// A request as a history writes it: `kind payload`; `kind!` has expired.
pub struct Ask {
    pub kind: String,
    pub has_expired: bool,
    pub payload: Value,
}

impl Ask {
    pub fn parse(text: &str) -> Self {
        let (kind, payload) = text.split_once(' ').unwrap();
        let has_expired = kind.ends_with('!');
        let kind = kind.trim_end_matches('!').to_owned();
        Self { kind, has_expired, payload: serde_json::from_str(payload).unwrap() }
    }

    fn text(&self) -> String {
        format!("{}{} {}", self.kind, if self.has_expired { "!" } else { "" }, self.payload)
    }
}

pub struct Player {
    db: TestDb,
    worker: Worker,
    asked: u128,
    /// By name: the IDs in the order in which answers told of them.
    drawn: HashMap<&'static str, Vec<i64>>,
}

/// Fields that hold IDs that the database draws, in payloads and in answers.
const DRAWN: [(&str, &str); 5] = [
    ("enrollment_id", "enrollment"),
    ("booking_id", "booking"),
    ("cancelled_bookings", "booking"),
    ("promoted_bookings", "booking"),
    ("superseded_bookings", "booking"),
];

impl Player {
    pub async fn new(batch: usize) -> Self {
        let db = TestDb::new().await;
        let worker = db.worker_with(Limits { batch, ..Limits::default() });
        Self { db, worker, asked: 0, drawn: HashMap::new() }
    }

    /// How many enrollments and bookings are known.
    pub fn known(&self) -> (usize, usize) {
        let count = |name| self.drawn.get(name).map_or(0, Vec::len);
        (count("enrollment"), count("booking"))
    }

    /// What an owner does, and what workers make of it.
    pub async fn sql(&mut self, sql: &str) {
        self.db.run(sql).await;
        self.drain().await;
    }

    /// Asks at once, has it answered, and gives the lines.
    pub async fn run(&mut self, asks: &[Ask]) -> String {
        let first = self.asked;
        let mut sent = Vec::new();
        for ask in asks {
            self.asked += 1;
            let mut payload = ask.payload.clone();
            for (field, name) in DRAWN {
                if let Some(value) = payload.get_mut(field)
                    && let Some(number) = value.as_str().and_then(|text| text.strip_prefix(name))
                {
                    let number: usize = number.trim().parse().unwrap();
                    *value = self.drawn[name][number - 1].into();
                }
            }
            let mut one = plain_sql::Ask::new(Uuid::from_u128(self.asked), &ask.kind, payload);
            one.expires_at = ask.has_expired.then(|| "2000-01-01T00:00:00Z".to_owned());
            sent.push(one);
        }
        let mut connection = self.db.pool.acquire().await.unwrap();
        plain_sql::send_many(&mut connection, &sent).await.unwrap();
        drop(connection);
        self.drain().await;
        let mut lines = String::new();
        for (ask, number) in asks.iter().zip(first + 1..) {
            let receipt = self.db.receipt(Uuid::from_u128(number)).await;
            writeln!(lines, "ask {} => {}", ask.text(), self.answer(receipt)).unwrap();
        }
        lines
    }

    fn answer(&mut self, receipt: Receipt) -> String {
        let outcome = receipt.outcome.unwrap_or_else(|| panic!("not answered: {receipt:?}"));
        let outcome = serde_json::to_value(outcome).unwrap();
        let reason = receipt.reason.map(|reason| format!(" {}", reason.as_str())).unwrap_or_default();
        let mut result = receipt.result.unwrap_or(Value::Null);
        for (field, name) in DRAWN {
            match result.get_mut(field) {
                Some(Value::Array(ids)) => ids.iter_mut().for_each(|id| self.tell(name, id)),
                // cancel_semester counts its bookings.
                Some(id) if field.ends_with("_id") => self.tell(name, id),
                _ => {}
            }
        }
        format!("{}{reason} {result}", outcome.as_str().unwrap())
    }

    fn tell(&mut self, name: &'static str, id: &mut Value) {
        let Some(drawn) = id.as_i64() else { return };
        let known = self.drawn.entry(name).or_default();
        let place = known.iter().position(|one| *one == drawn).unwrap_or_else(|| {
            known.push(drawn);
            known.len() - 1
        });
        *id = format!("{name} {}", place + 1).into();
    }

    /// Balances, enrollments, counters and live bookings at the end.
    pub async fn end(&self) -> Value {
        const END: &str = "select jsonb_build_object(
            'balances', (select jsonb_object_agg(user_id, credit_balance) from seatkeeper.users),
            'semesters', (select jsonb_object_agg(semester_id, jsonb_build_array(status, enrolled_count)) from seatkeeper.semesters),
            'sessions', (select jsonb_object_agg(session_id, confirmed_count) from seatkeeper.sessions),
            'active', (select jsonb_agg(jsonb_build_array(user_id, semester_id, price_paid) order by user_id, semester_id)
                       from seatkeeper.enrollments where is_active),
            'bookings', (select jsonb_agg(jsonb_build_array(user_id, session_id, status) order by user_id, session_id)
                         from seatkeeper.bookings where status <> 'CANCELLED'),
            'attendance', (select jsonb_agg(jsonb_build_array(user_id, session_id, a.status) order by user_id, session_id, booking_id)
                           from seatkeeper.attendance a join seatkeeper.bookings using (booking_id)),
            'ledger', (select jsonb_object_agg(kind, sum) from (select transaction_type as kind, sum(amount)
                       from seatkeeper.credit_transactions group by 1) t))";
        sqlx::query_scalar(AssertSqlSafe(END)).fetch_one(&self.db.pool).await.unwrap()
    }

    pub async fn assert_follows(&self) {
        self.db.assert_follows().await;
    }

    async fn drain(&mut self) {
        while !matches!(self.worker.turn().await, Turn::Idle) {}
    }
}
