//! Marked sessions of the lanes that are held.

use sqlx::PgConnection;

/// A session whose waitlist may be able to move, without anybody having asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::batch) struct Mark {
    pub(in crate::batch) mark_id: i64,
    pub(in crate::batch) session_id: i64,
}

/// The marked sessions of lanes that are held, the oldest mark first.
pub(in crate::batch) async fn read_marks(
    connection: &mut PgConnection,
    held: &[i64],
    limit: i64,
) -> sqlx::Result<Vec<Mark>> {
    sqlx::query_as!(
        Mark,
        r#"
        -- claim.read_marks
        select m.mark_id as "mark_id!", m.session_id as "session_id!"
        from unnest($1::bigint[]) held (semester_id)
        cross join lateral (
            select * from seatkeeper.fill_marks m
            where m.semester_id = held.semester_id and m.retry_at is null
              and m.semester_id <> all (array(select p.semester_id from seatkeeper.pauses p where p.semester_id is not null))
              and not exists (select from seatkeeper.pauses p where p.kind is null and p.semester_id is null)
            order by m.mark_id limit $2
        ) m
        order by m.mark_id
        limit $2
        "#,
        held,
        limit
    )
    .fetch_all(connection)
    .await
}
