//! One cell: three requests in a batch, a process that dies at the point, and those who come after it.

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use seatkeeper::audit::audit;
use seatkeeper::batch::{Turn, Worker, sort_out};
use seatkeeper_jobs::Kind;
use uuid::Uuid;

use super::cells::Cell;
use super::company::{Company, Seen, transactions};
use super::points::{Holds, POINTS, Point, Work};
use super::stage::{Corner, ask};
use super::victim::Victim;
use crate::support::{TestDb, until};

/// Who dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// A process that does nothing else.
    Turn,
    /// `seatkeeper run`.
    Program,
}

/// What becomes of requests that are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sorted {
    Due,
    Parked,
    Unparked,
}

/// A cell being hit.
pub struct Round<'a> {
    pub db: &'a TestDb,
    pub cell: Cell,
    pub corner: Corner,
    kinds: Vec<Kind>,
    ids: Vec<Uuid>,
    sorted: Sorted,
}

/// A request as it is stored, and how often it has had its effect.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
struct Stored {
    status: String,
    hold: Option<String>,
    outcome: Option<String>,
    attempts: i32,
    answer_seq: Option<i64>,
    effects: i64,
}

impl<'a> Round<'a> {
    /// Asks for the three.
    pub async fn prepare(db: &'a TestDb, cell: Cell, corner: Corner, random: &mut StdRng) -> Self {
        let mut kinds: Vec<Kind> = Kind::ALL.iter().copied().filter(|kind| *kind != cell.kind()).collect();
        kinds.shuffle(random);
        kinds.truncate(2);
        kinds.insert(cell.place, cell.kind());
        let ids = ask(db, kinds.iter().map(|kind| corner.job(*kind)).collect()).await;
        let sorted = *[Sorted::Due, Sorted::Parked, Sorted::Unparked].choose(random).unwrap();
        let round = Self { db, cell, corner, kinds, ids, sorted };
        match (round.point().work, sorted) {
            (Work::Batch, _) => {}
            (Work::Retry, _) => {
                db.run(&format!("insert into public.poison values ('{}')", round.request())).await;
            }
            (Work::Hold, Sorted::Due) => {
                db.run(&format!(
                    "update seatkeeper.requests set hold = 'scheduled', run_at = clock_timestamp() where {}",
                    round.ours()
                ))
                .await;
            }
            (Work::Hold, Sorted::Parked) => round.pause().await,
            (Work::Hold, Sorted::Unparked) => {
                round.pause().await;
                assert_eq!(sort_out(&transactions(&round)).await.unwrap(), 3);
                round.resume().await;
            }
        }
        round
    }

    pub const fn point(&self) -> Point {
        POINTS[self.cell.point]
    }

    /// The request of the cell's kind.
    pub fn request(&self) -> Uuid {
        self.ids[self.cell.place]
    }

    /// The lane that the point's lock is on.
    pub const fn lane(&self) -> i64 {
        self.corner.lane(Kind::ALL[self.cell.kind])
    }

    pub fn is_grant(&self, kind: Kind) -> bool {
        kind == Kind::GrantCredits
    }

    /// What the victim holds in this very round.
    pub fn holds(&self) -> Holds {
        let point = self.point();
        let early = match self.sorted {
            Sorted::Due => false,
            Sorted::Parked => point.name == "hold.due",
            Sorted::Unparked => point.name == "hold.due" || point.name == "hold.parked",
        };
        let without_lane = point.name == "retry.locked" && self.is_grant(self.cell.kind());
        if (point.work == Work::Hold && early) || without_lane { Holds::Nothing } else { point.holds }
    }

    fn ours(&self) -> String {
        let ids: Vec<String> = self.ids.iter().map(|id| format!("'{id}'")).collect();
        format!("request_id in ({})", ids.join(", "))
    }

    async fn pause(&self) {
        for kind in &self.kinds {
            self.db
                .run(&format!(
                    "insert into seatkeeper.pauses (kind, paused_by, reason) values ('{kind}', 'test', 'test')"
                ))
                .await;
        }
    }

    async fn resume(&self) {
        self.db.run("delete from seatkeeper.pauses").await;
    }

    async fn stored(&self) -> Vec<Stored> {
        sqlx::query_as(
            "select r.status, r.hold, r.outcome, r.attempts, r.answer_seq,
                    (select count(*) from seatkeeper.credit_transactions t where t.request_id = r.request_id)
                    + (select count(*) from seatkeeper.bookings b where b.request_id = r.request_id)
                    + (select count(*) from seatkeeper.attendance a where a.request_id = r.request_id)
                    + (select count(*) from seatkeeper.bookings b
                       where r.kind = 'cancel_booking' and b.status = 'CANCELLED' and b.cancelled_because = 'requested'
                         and b.user_id = (r.payload ->> 'user_id')::bigint
                         and b.session_id = (r.payload ->> 'session_id')::bigint) as effects
             from unnest($1::uuid[]) with ordinality asked (request_id, ord) join seatkeeper.requests r using (request_id)
             order by asked.ord",
        )
        .bind(&self.ids)
        .fetch_all(&self.db.pool)
        .await
        .unwrap()
    }

    /// All three are in the queue as if nobody had come.
    pub async fn assert_nothing_seen(&self) {
        for stored in self.stored().await {
            let untouched = stored.status == "queued" && stored.attempts == 0 && stored.effects == 0;
            assert!(untouched && stored.answer_seq.is_none(), "{}: {stored:?}", self.cell);
        }
    }

    /// All three have their answer and their effect once, in the order in which they came.
    async fn assert_answered(&self, attempts: i32) {
        let all = self.stored().await;
        for (place, stored) in all.iter().enumerate() {
            let due = if place == self.cell.place { attempts } else { 1 };
            let applied = stored.outcome.as_deref() == Some("applied") && stored.hold.is_none();
            let once = stored.attempts == due && stored.effects == 1;
            assert!(applied && once, "{}: {} {stored:?}", self.cell, self.kinds[place]);
        }
        let in_order = all.is_sorted_by_key(|stored| stored.answer_seq);
        // Who is set aside for a retry holds nobody up, and grants are everybody's.
        let in_batch = self.point().work == Work::Batch && !self.kinds.contains(&Kind::GrantCredits);
        assert!(in_order || !in_batch, "{}: {all:?}", self.cell);
    }

    /// What is there once the victim is dead, and nobody else has come.
    async fn assert_left(&self) {
        let committed = self.holds() == Holds::Committed;
        match self.point().work {
            Work::Batch if committed => self.assert_answered(1).await,
            Work::Batch => self.assert_nothing_seen().await,
            Work::Hold => {
                self.assert_nothing_seen().await;
                let (before, after) = match self.sorted {
                    Sorted::Due => (Some("scheduled"), None),
                    Sorted::Parked => (None, Some("paused")),
                    Sorted::Unparked => (Some("paused"), None),
                };
                for stored in self.stored().await {
                    let due = if committed { after } else { before };
                    assert_eq!(stored.hold.as_deref(), due, "{}: {stored:?}", self.cell);
                }
            }
            Work::Retry => {
                let stored = self.stored().await.swap_remove(self.cell.place);
                let hold = committed.then_some("scheduled");
                let charged = (stored.attempts == 1) == committed && stored.hold.as_deref() == hold;
                assert!(
                    charged && stored.status == "queued" && stored.effects == 0,
                    "{}: {stored:?}",
                    self.cell
                );
            }
        }
    }

    /// Kills whoever it is at the point, and has everything answered by those who come after.
    pub async fn hit(&self, who: Who, name: &str, seen: &mut Seen) {
        let point = self.point();
        let place = match point.name {
            "decide.one" => format!("{}:{}", point.name, self.cell.place + 1),
            name => name.to_owned(),
        };
        let task = if point.work == Work::Hold { "sort" } else { "turns" };
        let mut worker = self.db.worker();
        if self.cell.is_contended() {
            assert_eq!(who, Who::Turn);
            let mut victim = Victim::turn(self.db, name, task, &place, "wait");
            victim.there().await;
            let company = Company::gather(self, &victim, &mut worker, seen).await;
            victim.kill();
            victim.dead(self.db).await;
            company.leave().await;
        } else {
            let victim = match who {
                Who::Turn => Victim::turn(self.db, name, task, &place, "die"),
                Who::Program => Victim::program(self.db, name, &place),
            };
            victim.dead(self.db).await;
            self.assert_left().await;
            if point.work == Work::Batch && point.holds != Holds::Committed {
                // What was in the victim's batch is seen by who gets the same.
                let told: Vec<Kind> = match worker.turn().await {
                    Turn::Answered(report) => report.told.into_iter().map(|told| told.kind).collect(),
                    other => panic!("{}: {other:?}", self.cell),
                };
                assert_eq!(self.kinds, told, "{}: another batch", self.cell);
            }
        }
        self.recover(&mut worker).await;
        let charged = point.work == Work::Retry && point.holds == Holds::Committed;
        self.assert_answered(1 + i32::from(charged)).await;
        let audit = audit(&self.db.pool).await.unwrap();
        assert!(audit.holds(), "{}: {:?} {:?}", self.cell, audit.not_covered, audit.findings);
    }

    /// The defect is mended, the pauses are over, and a worker answers what is left.
    async fn recover(&self, worker: &mut Worker) {
        self.db.run("delete from public.poison").await;
        self.resume().await;
        let left =
            format!("select count(*) from seatkeeper.requests where {} and status <> 'done'", self.ours());
        until(&format!("{}: all three are answered", self.cell), async || {
            sort_out(&transactions(self)).await.unwrap();
            while !matches!(worker.turn().await, Turn::Idle) {}
            self.db.value::<i64>(&left).await == 0
        })
        .await;
    }
}
