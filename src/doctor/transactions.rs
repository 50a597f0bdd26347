//! Transactions that somebody keeps open.

use std::time::Duration;

use sqlx::PgConnection;

use super::Finding;
use crate::postgres::{OpenTransaction, open_transactions};

/// A transaction that can have enqueued and is open for longer keeps somebody waiting.
const LONG: Duration = Duration::from_secs(300);
/// A dump or a report may take this long.
const VERY_LONG: Duration = Duration::from_secs(3_600);
/// Where this account may not see since when: so many transactions have begun since.
const FAR_BEHIND: i32 = 100_000;

pub(super) async fn finding(connection: &mut PgConnection) -> sqlx::Result<Finding> {
    Ok(judge(open_transactions(connection).await?))
}

fn judge(mut open: Vec<OpenTransaction>) -> Finding {
    open.sort_by_key(|one| std::cmp::Reverse((one.holds_a_number, one.age, one.behind)));
    let too_long: Vec<String> = open.iter().filter(|one| is_too_long(one)).map(describe).collect();
    if too_long.is_empty() {
        Finding::ok("transactions", "nobody keeps one open for long")
    } else {
        Finding::warning(
            "transactions",
            format!("open for long: {}", too_long.join("; ")),
            "what they have enqueued waits for their end, and vacuum clears nothing away that they could still see: have them ended, \
             or `select pg_terminate_backend(…)`; prepared ones by `commit prepared` or `rollback prepared`",
        )
    }
}

fn is_too_long(one: &OpenTransaction) -> bool {
    let limit = if one.holds_a_number { LONG } else { VERY_LONG };
    one.age.map_or(one.behind > FAR_BEHIND, |age| age > limit)
}

fn describe(one: &OpenTransaction) -> String {
    let whose = match one.pid {
        Some(pid) => format!("process {pid} of {} ({})", one.user, one.application),
        None => format!("the prepared transaction {:?} of {}", one.application, one.user),
    };
    let since = match one.age {
        Some(age) => format!("{} ago", humantime::format_duration(Duration::from_secs(age.as_secs()))),
        None => format!("{} transactions ago (since when, members of pg_read_all_stats see)", one.behind),
    };
    let what = if one.holds_a_number { "can have enqueued" } else { "looks at what was there" };
    format!("{whose} {what}, begun {since}")
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    fn open(pid: Option<i32>, holds_a_number: bool, age: Option<u64>, behind: i32) -> OpenTransaction {
        OpenTransaction {
            pid,
            user: "shop".into(),
            application: "import".into(),
            identity: "writes 1".into(),
            age: age.map(Duration::from_secs),
            behind,
            holds_a_number,
        }
    }

    #[test]
    fn who_has_enqueued_is_told_sooner_than_who_reads() {
        assert_eq!(judge(Vec::new()).level, Level::Ok);
        let short = [
            open(Some(1), true, Some(299), 5),
            open(Some(2), false, Some(3_000), 500_000),
            open(Some(3), true, None, 7),
        ];
        assert_eq!(judge(short.into()).level, Level::Ok);
        let long = [
            open(Some(4), false, Some(7_200), 9),
            open(Some(5), true, None, 100_001),
            open(None, true, Some(301), 1),
        ];
        let finding = judge(long.into());
        assert_eq!(finding.level, Level::Warning);
        assert_eq!(
            finding.what,
            "open for long: the prepared transaction \"import\" of shop can have enqueued, begun 5m 1s ago; process 5 of shop (import) \
             can have enqueued, begun 100001 transactions ago (since when, members of pg_read_all_stats see); process 4 of shop (import) \
             looks at what was there, begun 2h ago"
        );
    }
}
