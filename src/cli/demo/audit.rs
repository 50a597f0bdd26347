//! What came of it, read from the database and compared with what the crowd asked and heard.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use seatkeeper_jobs::postgres::{enqueue_many, get_receipts};
use seatkeeper_jobs::{Kind, Outcome, Receipt, Request};
use serde::Serialize;
use sqlx::PgPool;
use uuid::Uuid;

use super::crowd::Heard;
use super::plan::CUP;
use super::sessions::{Bookings, bookings};
use super::stored::{Stored, read_requests};
use crate::cli::Failure;

/// How many requests are sent once more when all of them are answered.
const SENT_AFTERWARDS: usize = 200;

/// Requests of one kind, or all of them.
#[derive(Debug, Default, Serialize)]
pub struct Requests {
    pub asked: usize,
    pub applied: usize,
    pub refused: usize,
    /// Failed, or without an answer.
    pub unanswered: usize,
}

/// What happened at the door.
#[derive(Debug, Default, Serialize)]
pub struct Doors {
    /// Known IDs that were sent again with the same content.
    pub sent_again: usize,
    /// Those of them that got the first receipt.
    pub first_receipt: usize,
    /// Known IDs that were sent with other content.
    pub conflicts: usize,
    pub conflicts_refused: usize,
    /// What was no request.
    pub malformed: usize,
    pub malformed_refused: usize,
}

/// The places of the cup.
#[derive(Debug, Serialize)]
pub struct Places {
    pub seats: i64,
    /// Enrolled and not given back, by the answers.
    pub taken: i64,
    pub given_back: i64,
    pub active_enrollments: i64,
    pub enrolled_count: i64,
}

/// All credits of all players.
#[derive(Debug, Serialize)]
pub struct Credits {
    pub granted: i64,
    pub charged: i64,
    pub refunded: i64,
    pub balances: i64,
    /// Users whose balance is not the sum of their ledger.
    pub wrong_balances: i64,
    /// Enrollments that were not charged exactly once, or refunded more than once.
    pub wrong_charges: i64,
}

/// Whether the answers follow from the order of arrival.
#[derive(Debug, Serialize)]
pub struct Order {
    /// Requests that were answered before one that had been in before they were sent.
    pub overtaken: usize,
    /// Answers that were worked out again, one at a time.
    pub replayed: usize,
    /// Places filled without a request, worked out again in their turn.
    pub fills_replayed: usize,
    /// Bookings that were compared in the end.
    pub bookings_compared: usize,
    /// Answers, fills, and rows in the end that came out otherwise.
    pub differing: usize,
    /// The first of them: it entails others.
    pub first_differing: Option<String>,
    /// Where the working out had to stop.
    pub not_covered: Option<String>,
}

/// What the database says, next to what the crowd says.
#[derive(Debug, Serialize)]
pub struct Audit {
    pub requests: Requests,
    pub by_kind: BTreeMap<String, Requests>,
    pub refused_by_reason: BTreeMap<String, usize>,
    /// Rows of the queue's table.
    pub stored: i64,
    pub doors: Doors,
    pub places: Places,
    pub bookings: Bookings,
    pub credits: Credits,
    pub order: Order,
    /// Commits that answered the crowd, and how many requests they answered.
    pub commits: i64,
    pub answered_by_them: i64,
}

/// Looks at everything, once all requests are answered.
pub async fn audit(pool: &PgPool, asks: &[Request], heard: &[Heard], seats: i64) -> Result<Audit, Failure> {
    let again = send_again(pool, asks).await?;
    let stored = read_requests(pool).await?;
    let replayed = seatkeeper::audit::audit(pool).await?;
    let mut audit = Audit {
        requests: Requests::default(),
        by_kind: BTreeMap::new(),
        refused_by_reason: BTreeMap::new(),
        stored: i64::try_from(stored.len()).unwrap_or(i64::MAX),
        doors: doors(heard, &stored, again),
        places: read_places(pool, seats, &stored).await?,
        bookings: bookings(pool, &stored).await?,
        credits: read_credits(pool).await?,
        order: Order {
            overtaken: overtaken(heard, &stored),
            replayed: replayed.answers,
            fills_replayed: replayed.fills,
            bookings_compared: replayed.bookings,
            differing: replayed.differing,
            first_differing: replayed.findings.first().map(ToString::to_string),
            not_covered: replayed.not_covered.map(|stop| stop.to_string()),
        },
        commits: 0,
        answered_by_them: 0,
    };
    audit.count(&stored);
    // Each commit leaves its own transaction ID on the rows that it answered.
    let commits = sqlx::query!(
        r#"-- demo.commits
           select count(distinct r.xmin::text) as "commits!", count(*) as "answered!"
           from seatkeeper.requests r where r.status = 'done' and r.kind <> 'grant_credits'"#
    )
    .fetch_one(pool)
    .await?;
    (audit.commits, audit.answered_by_them) = (commits.commits, commits.answered);
    Ok(audit)
}

impl Audit {
    fn count(&mut self, stored: &[Stored]) {
        for each in stored {
            let kind = self.by_kind.entry(each.job.kind().to_string()).or_default();
            for requests in [&mut self.requests, kind] {
                requests.asked += 1;
                match each.outcome {
                    Some(Outcome::Applied) => requests.applied += 1,
                    Some(Outcome::Refused) => requests.refused += 1,
                    None => requests.unanswered += 1,
                }
            }
            if let (Some(Outcome::Refused), Some(reason)) = (each.outcome, each.reason) {
                *self.refused_by_reason.entry(reason.to_string()).or_default() += 1;
            }
        }
    }
}

/// Sends some of the answered requests once more. Gives how many, and how many got the very answer of the first time.
async fn send_again(pool: &PgPool, asks: &[Request]) -> Result<(usize, usize), Failure> {
    let late: Vec<Request> = asks
        .iter()
        .rev()
        .filter(|request| matches!(request.job().kind(), Kind::Unenroll | Kind::CancelBooking))
        .chain(asks.iter().filter(|request| matches!(request.job().kind(), Kind::Enroll | Kind::Book)))
        .take(SENT_AFTERWARDS)
        .cloned()
        .collect();
    let mut connection = pool.acquire().await?;
    let answers = enqueue_many(&mut connection, &late)
        .await
        .map_err(|error| Failure::unable(format!("requests could not be sent again: {error}")))?;
    let ids: Vec<Uuid> = late.iter().map(Request::request_id).collect();
    let receipts = get_receipts(&mut connection, &ids).await?;
    let same = answers.iter().zip(&receipts).filter(|(answer, receipt)| {
        answer.duplicate
            && receipt.status.is_final()
            && **answer == Receipt { duplicate: true, ..(*receipt).clone() }
    });
    Ok((late.len(), same.count()))
}

fn doors(heard: &[Heard], stored: &[Stored], (sent_afterwards, same_afterwards): (usize, usize)) -> Doors {
    let stored: HashMap<Uuid, &Stored> = stored.iter().map(|each| (each.request_id, each)).collect();
    let first: HashMap<Uuid, &Receipt> = heard
        .iter()
        .filter_map(|heard| match heard {
            Heard::Receipt { receipt, .. } if !receipt.duplicate => Some((receipt.request_id, receipt)),
            _ => None,
        })
        .collect();
    let mut doors = Doors { sent_again: sent_afterwards, first_receipt: same_afterwards, ..Doors::default() };
    let mut seen = HashSet::new();
    for heard in heard {
        match heard {
            // The first of an ID is the one that says so; if two said so, the second would count as a wrong one.
            Heard::Receipt { receipt, .. } if !receipt.duplicate && seen.insert(receipt.request_id) => {}
            Heard::Receipt { receipt, .. } => {
                doors.sent_again += 1;
                let id = receipt.request_id;
                if let (Some(first), Some(stored)) = (first.get(&id), stored.get(&id)) {
                    doors.first_receipt += usize::from(is_first_receipt(receipt, first, stored));
                }
            }
            Heard::Conflict { refused } => {
                doors.conflicts += 1;
                doors.conflicts_refused += usize::from(*refused);
            }
            Heard::Malformed { refused } => {
                doors.malformed += 1;
                doors.malformed_refused += usize::from(*refused);
            }
        }
    }
    doors
}

/// The same request, as it was then: not answered yet, or answered as it is for good.
fn is_first_receipt(receipt: &Receipt, first: &Receipt, stored: &Stored) -> bool {
    let same_request =
        receipt.duplicate && receipt.kind == first.kind && receipt.enqueued_at == first.enqueued_at;
    let same_answer = !receipt.status.is_final()
        || (receipt.outcome, receipt.reason, &receipt.result)
            == (stored.outcome, stored.reason, &stored.result);
    same_request && same_answer
}

async fn read_places(pool: &PgPool, seats: i64, stored: &[Stored]) -> Result<Places, Failure> {
    let applied = |kind: Kind| {
        let of_cup = stored.iter().filter(|each| {
            each.outcome == Some(Outcome::Applied)
                && each.job.kind() == kind
                && each.job.semester_id().is_some_and(|semester| semester.get() == CUP)
        });
        i64::try_from(of_cup.count()).unwrap_or(i64::MAX)
    };
    let row = sqlx::query!(
        r#"-- demo.places
           select s.enrolled_count as "enrolled_count!",
                  (select count(*) from seatkeeper.enrollments e
                   where e.semester_id = s.semester_id and e.is_active) as "active!"
           from seatkeeper.semesters s where s.semester_id = $1"#,
        CUP
    )
    .fetch_one(pool)
    .await?;
    let given_back = applied(Kind::Unenroll);
    Ok(Places {
        seats,
        taken: applied(Kind::Enroll) - given_back,
        given_back,
        active_enrollments: row.active,
        enrolled_count: row.enrolled_count.into(),
    })
}

async fn read_credits(pool: &PgPool) -> Result<Credits, Failure> {
    let row = sqlx::query_as!(
        Credits,
        r#"-- demo.credits
           select (select coalesce(sum((r.payload ->> 'amount')::bigint), 0)::bigint from seatkeeper.requests r
                   where r.kind = 'grant_credits' and r.outcome = 'applied') as "granted!",
                  (select coalesce(-sum(t.amount), 0)::bigint from seatkeeper.credit_transactions t
                   where t.transaction_type = 'TOURNAMENT_ENROLLMENT') as "charged!",
                  (select coalesce(sum(t.amount), 0)::bigint from seatkeeper.credit_transactions t
                   where t.transaction_type like '%REFUND') as "refunded!",
                  (select coalesce(sum(u.credit_balance), 0)::bigint from seatkeeper.users u) as "balances!",
                  (select count(*) from seatkeeper.users u
                   left join (select t.user_id, sum(t.amount) as total from seatkeeper.credit_transactions t
                              group by t.user_id) ledger using (user_id)
                   where u.credit_balance <> coalesce(ledger.total, 0)) as "wrong_balances!",
                  (select count(*) from seatkeeper.enrollments e
                   left join (select t.enrollment_id,
                                     count(*) filter (where t.transaction_type = 'TOURNAMENT_ENROLLMENT') as charges,
                                     count(*) filter (where t.transaction_type like '%REFUND') as refunds
                              from seatkeeper.credit_transactions t group by t.enrollment_id) ledger
                       using (enrollment_id)
                   where coalesce(ledger.charges, 0) <> 1 or ledger.refunds <> (not e.is_active)::int) as "wrong_charges!""#
    )
    .fetch_one(pool)
    .await?;
    Ok(row)
}

/// Counts who was overtaken: in one semester, whoever was in before somebody else asked is answered first.
fn overtaken(heard: &[Heard], stored: &[Stored]) -> usize {
    let answers: HashMap<Uuid, (i64, i64)> =
        stored.iter().filter_map(|each| Some((each.request_id, (each.lane()?, each.answer_seq?)))).collect();
    let mut lanes: HashMap<i64, Vec<(i64, Instant, Instant)>> = HashMap::new();
    for each in heard {
        let Heard::Receipt { receipt, called, heard } = each else { continue };
        if let (Some((lane, seq)), false) = (answers.get(&receipt.request_id), receipt.duplicate) {
            lanes.entry(*lane).or_default().push((*seq, *called, *heard));
        }
    }
    let mut overtaken = 0;
    for lane in lanes.values_mut() {
        lane.sort_unstable_by_key(|(seq, ..)| std::cmp::Reverse(*seq));
        // From the last answer to the first: when the earliest of those answered later was in.
        let mut in_since: Option<Instant> = None;
        for (_, called, heard) in lane {
            overtaken += usize::from(in_since.is_some_and(|since| since < *called));
            in_since = Some(in_since.map_or(*heard, |since| since.min(*heard)));
        }
    }
    overtaken
}

/// How long the rush took, as a rate.
#[expect(clippy::cast_precision_loss, reason = "a demo has far fewer than 2^52 requests")]
pub fn per_second(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64().max(f64::EPSILON)
}
