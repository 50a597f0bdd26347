-- What triggers look up, whatever the planner knew when a connection planned it: a plan from when there were a few sessions walked
-- through all of them for each booking, and a moved session read all bookings there are. `key = any (array[…])` leaves the planner
-- nothing but the index of the key; by `key = …` it may join in the order of the whole index, or by a table of everything. By `status = 'WAITLISTED'`
-- alone every partial index of that condition would do, from end to end; within `coalesce(…, false)` it is but a filter. And by
-- `order by session_id`, since nothing may be sorted, only an index that begins with it.

create or replace function seatkeeper.count_confirmed() returns trigger
language plpgsql security definer set search_path = pg_catalog, seatkeeper, pg_temp
set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
begin
    if tg_op = 'INSERT' then
        update seatkeeper.sessions s set confirmed_count = s.confirmed_count + d.more
        from (select session_id, count(*)::integer as more from new_rows where status = 'CONFIRMED' group by session_id) d
        where s.session_id = any (array[d.session_id]);
    elsif tg_op = 'DELETE' then
        update seatkeeper.sessions s set confirmed_count = s.confirmed_count - d.fewer
        from (select session_id, count(*)::integer as fewer from old_rows where status = 'CONFIRMED' group by session_id) d
        where s.session_id = any (array[d.session_id]);
    else
        update seatkeeper.sessions s set confirmed_count = s.confirmed_count + d.more
        from (select c.session_id, sum(c.more)::integer as more
              from (select session_id, 1 as more from new_rows where status = 'CONFIRMED'
                    union all select session_id, -1 from old_rows where status = 'CONFIRMED') c
              group by c.session_id having sum(c.more) <> 0) d
        where s.session_id = any (array[d.session_id]);
    end if;
    return null;
end $$;

create or replace function seatkeeper.mark_sessions_of_user() returns trigger
language plpgsql security definer set search_path = pg_catalog, seatkeeper, pg_temp
set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
begin
    insert into seatkeeper.fill_marks (semester_id, session_id)
    select s.semester_id, s.session_id
    from seatkeeper.bookings b join seatkeeper.sessions s on s.session_id = any (array[b.session_id])
    where b.user_id = new.user_id and b.status <> 'CANCELLED' and coalesce(b.status = 'WAITLISTED', false);
    return null;
end $$;

create or replace function seatkeeper.follow_sessions() returns trigger
language plpgsql security definer set search_path = pg_catalog, seatkeeper, pg_temp
set enable_hashjoin = on set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off set jit = off as $$
declare
    changed bigint[];
    moved bigint[];
    concerned bigint[];
    numbers bigint[];
    at timestamptz;
begin
    select array_agg(n.session_id order by n.session_id),
           array_agg(n.session_id) filter (where (n.starts_at, n.ends_at) is distinct from (o.starts_at, o.ends_at))
    into changed, moved
    from new_rows n join old_rows o using (session_id)
    where (n.starts_at, n.ends_at, n.capacity, n.status, n.booking_closes_at, n.cancellation_closes_at)
        is distinct from (o.starts_at, o.ends_at, o.capacity, o.status, o.booking_closes_at, o.cancellation_closes_at);
    if changed is null then
        return null; -- a counter
    end if;
    if moved is not null then
        concerned := array((select b.user_id from seatkeeper.bookings b
                            where b.session_id = any (moved) and b.status = 'WAITLISTED' order by b.session_id)
                           union
                           (select b.user_id from seatkeeper.bookings b
                            where b.session_id = any (moved) and b.status = 'CONFIRMED' order by b.session_id));
        perform from seatkeeper.users u where u.user_id = any (concerned) order by u.user_id for no key update;
    end if;

    at := clock_timestamp();
    numbers := array(select nextval('seatkeeper.answer_seq') from generate_series(1, cardinality(changed)));
    insert into seatkeeper.catalog_changes (change_seq, statement_seq, changed_at, "table", key, before, after)
    select c.seq, numbers[1], at, 'sessions', c.session_id, seatkeeper.catalog_image(to_jsonb(o)), seatkeeper.catalog_image(to_jsonb(n))
    from unnest(changed, numbers) c (session_id, seq)
    join old_rows o on o.session_id = c.session_id
    join new_rows n on n.session_id = c.session_id;
    insert into seatkeeper.fill_marks (semester_id, session_id)
    select n.semester_id, n.session_id
    from new_rows n join old_rows o using (session_id)
    where (n.starts_at, n.ends_at, n.capacity, n.status) is distinct from (o.starts_at, o.ends_at, o.capacity, o.status);
    if moved is not null then
        perform seatkeeper.move_bookings(moved, concerned, at);
    end if;
    return null;
end $$;

-- The live bookings are looked up once, by the two indexes that have them by session. (Nobody makes one meanwhile: whoever books
-- locks the session, which is being moved, first.)
create or replace function seatkeeper.move_bookings(moved bigint[], concerned bigint[], at timestamptz) returns void
language plpgsql set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off set jit = off as $$
declare
    live bigint[] := array((select b.booking_id from seatkeeper.bookings b
                            where b.session_id = any (moved) and b.status = 'WAITLISTED' order by b.session_id)
                           union all
                           (select b.booking_id from seatkeeper.bookings b
                            where b.session_id = any (moved) and b.status = 'CONFIRMED' order by b.session_id));
begin
    update seatkeeper.bookings b set status = 'CANCELLED', cancelled_at = at, cancelled_because = 'unenrolled'
    from seatkeeper.sessions s
    where b.booking_id = any (live) and coalesce(b.status <> 'CANCELLED', false)
      and s.session_id = any (array[b.session_id]) and s.starts_at > at
      and (select true from seatkeeper.enrollments e
           where e.user_id = b.user_id and e.semester_id = s.semester_id and e.is_active) is null;

    update seatkeeper.bookings b set starts_at = s.starts_at, ends_at = s.ends_at
    from seatkeeper.sessions s
    where b.booking_id = any (live) and coalesce(b.status <> 'CANCELLED', false) and s.session_id = any (array[b.session_id]);

    update seatkeeper.bookings w set status = 'CANCELLED', cancelled_at = at, cancelled_because = 'superseded'
    where w.user_id = any (concerned) and w.status <> 'CANCELLED' and coalesce(w.status = 'WAITLISTED', false)
      and exists (select from seatkeeper.bookings c
                  where c.user_id = any (array[w.user_id]) and c.status <> 'CANCELLED' and coalesce(c.status = 'CONFIRMED', false)
                    and tstzrange(c.starts_at, c.ends_at) && tstzrange(w.starts_at, w.ends_at)
                    and (c.session_id = any (moved) or w.session_id = any (moved)));
end $$;
