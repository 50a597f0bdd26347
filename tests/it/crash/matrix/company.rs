//! Who else wants what the victim has, at the moment when it dies.

use std::collections::BTreeMap;

use seatkeeper::batch::{Turn, Worker, sort_out};
use seatkeeper::postgres::{Timeouts, Transactions};
use sqlx::AssertSqlSafe;
use tokio::task::JoinHandle;

use super::points::{Holds, Work};
use super::round::Round;
use super::victim::Victim;
use crate::support::until;

/// What was seen of it, by what it was.
pub type Seen = BTreeMap<&'static str, u32>;

/// Transactions from outside that want the lane, a user and the request itself, and another worker.
pub struct Company {
    outside: Vec<JoinHandle<()>>,
}

impl Company {
    /// Lets all of them come to a victim that stands at its point, and awaits that they wait where they have to.
    pub async fn gather(round: &Round<'_>, victim: &Victim, rival: &mut Worker, seen: &mut Seen) -> Self {
        let holds = round.holds();
        let lane =
            format!("update seatkeeper.semesters set name = name where semester_id = {}", round.lane());
        let user = format!(
            "select from seatkeeper.users where user_id = {} for no key update",
            round.corner.locked_user(round.cell.kind())
        );
        let row =
            format!("select from seatkeeper.requests where request_id = '{}' for update", round.request());
        let mut wait = Vec::new();
        let mut pass = Vec::new();
        for (sql, what, has_to_wait) in [
            (lane, "waits for the lane", matches!(holds, Holds::Lane | Holds::Users)),
            (user, "waits for a user", holds == Holds::Users),
            // Under its lane's lock a request needs none of its own; its answer locks it.
            (row, "waits for the request", holds == Holds::Row),
        ] {
            if has_to_wait {
                wait.push(sql);
                *seen.entry(what).or_default() += 1;
            } else if holds == Holds::Nothing || holds == Holds::Committed {
                pass.push(sql);
                *seen.entry("transactions that passed").or_default() += 1;
            }
        }
        for sql in pass {
            round.db.run(&sql).await;
        }
        let outside: Vec<_> = wait.into_iter().map(|sql| come(round, sql)).collect();
        if !outside.is_empty() {
            let victim = victim.backend(round.db).await.expect("its backend is there");
            let waiting = format!(
                "select count(*) from pg_stat_activity where {victim} = any (pg_blocking_pids(pid)) and datname = current_database()"
            );
            let expected = i64::try_from(outside.len()).unwrap();
            let what = format!("{}: others wait for the victim", round.cell);
            until(&what, async || round.db.value::<i64>(&waiting).await >= expected).await;
        }
        match round.point().work {
            Work::Batch => meet(round, rival, seen).await,
            Work::Hold => {
                let moved = sort_out(&transactions(round)).await.unwrap();
                let due = if holds == Holds::Nothing { 3 } else { 0 };
                assert_eq!(moved, due, "{}: what another pass moved", round.cell);
                *seen.entry(if moved == 0 { "passes kept out" } else { "passes that moved" }).or_default() +=
                    1;
            }
            // Another worker would be charged for the same defect.
            Work::Retry => {}
        }
        Self { outside }
    }

    /// Awaits that all of them have got what they wanted.
    pub async fn leave(self) {
        for outside in self.outside {
            outside.await.unwrap();
        }
    }
}

pub fn transactions(round: &Round<'_>) -> Transactions {
    Transactions::new(round.db.pool.clone(), Timeouts::default())
}

fn come(round: &Round<'_>, sql: String) -> JoinHandle<()> {
    let pool = round.db.pool.clone();
    tokio::spawn(async move {
        sqlx::query(AssertSqlSafe(sql)).execute(&pool).await.unwrap();
    })
}

/// Another worker comes to the victim's lane.
async fn meet(round: &Round<'_>, rival: &mut Worker, seen: &mut Seen) {
    let holds = round.holds();
    loop {
        match rival.turn().await {
            Turn::Contended if holds != Holds::Nothing => {
                *seen.entry("workers kept out").or_default() += 1;
                break;
            }
            Turn::Answered(report) => {
                // Grants have no lane: until they are locked themselves, they are everybody's.
                let only_grants = report.told.iter().all(|told| round.is_grant(told.kind));
                let early = holds == Holds::Nothing || (round.point().name == "claim.lanes" && only_grants);
                assert!(early, "{}: answered what the victim has: {report:?}", round.cell);
                *seen.entry("workers that were faster").or_default() += 1;
            }
            Turn::Idle => {
                assert!(matches!(holds, Holds::Nothing | Holds::Committed), "{}: nothing to do", round.cell);
                return;
            }
            Turn::Again(_) => {}
            other => panic!("{}: {other:?}", round.cell),
        }
    }
    if round.point().name != "claim.lanes" {
        round.assert_nothing_seen().await;
    }
}
