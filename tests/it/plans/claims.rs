//! How much a claim takes: no more than it can answer.

use seatkeeper::batch::{Limits, Turn};

use crate::support::TestDb;

#[tokio::test]
async fn no_more_grants_are_locked_than_a_batch_has_room_for() {
    const ROOM: usize = 100;
    let db = TestDb::new().await;
    db.users(150).await;
    db.semester(1, None, 0).await;
    db.run(
        "insert into seatkeeper.requests (request_id, kind, payload, user_id)
         select gen_random_uuid(), 'grant_credits', jsonb_build_object('user_id', u, 'amount', 1), u
         from generate_series(1, 20) n, generate_series(1, 150) u order by n, u;
         insert into seatkeeper.requests (request_id, kind, payload, user_id, semester_id)
         select gen_random_uuid(), 'enroll', jsonb_build_object('user_id', u, 'semester_id', 1), u, 1
         from generate_series(1, 150) u order by u",
    )
    .await;
    let mut worker = db.worker_with(Limits { batch: ROOM, ..Limits::default() });
    let turn = worker.turn().await;
    let Turn::Answered(report) = turn else { panic!("{turn:?}") };
    assert_eq!(report.told.len(), ROOM);
    // Who locks a row leaves a trace in it, also when nothing comes of it.
    let in_vain: i64 = db
        .value("select count(*) from seatkeeper.requests where status = 'queued' and xmax::text <> '0'")
        .await;
    assert!(in_vain <= 100, "{in_vain} requests were locked and left");

    db.drain().await;
    let (applied, late): (i64, i64) = sqlx::query_as(
        "select count(*) filter (where outcome = 'applied'),
                count(*) filter (where kind = 'grant_credits' and exists (
                    select from seatkeeper.requests e
                    where e.user_id = g.user_id and e.kind = 'enroll' and e.answer_seq < g.answer_seq))
         from seatkeeper.requests g",
    )
    .fetch_one(&db.pool)
    .await
    .unwrap();
    assert_eq!((applied, late), (150 * 21, 0));
    db.assert_sound().await;
}
