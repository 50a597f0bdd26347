-- What the sequences have to be ahead of. A dump and a physical copy bring them along; logical replication leaves them at their start,
-- and a careless setval leaves them anywhere: then numbers are given twice, and who comes last stands before those who wait.

-- So that "is there a request with this number or a later one?" costs next to nothing among ten million: a summary of each
-- range of pages. An insert adds nothing to it before vacuum comes by.
create index idx_requests_by_number on seatkeeper.requests using brin (seq, answer_seq);

create function seatkeeper.sequences_behind()
returns table (sequence text, next bigint, stored bigint, repair text)
language sql stable set search_path = pg_catalog, seatkeeper, pg_temp
    -- By the indexes, whatever the statistics say.
    set enable_seqscan = off
as $$
    with at as (
        select (select case when s.is_called then s.last_value + 1 else s.last_value end from seatkeeper.requests_seq_seq s) as arrival,
               (select case when s.is_called then s.last_value + 1 else s.last_value end from seatkeeper.answer_seq s) as answer
    ), compared (sequence, next, stored) as (
        -- The greatest one is looked for only where there is something to tell.
        select 'requests_seq_seq', at.arrival,
               case when exists (select from seatkeeper.requests r where r.seq >= at.arrival)
                   then (select max(r.seq) from seatkeeper.requests r) end
        from at
        union all
        select 'answer_seq', at.answer,
               greatest((select max(c.change_seq) from seatkeeper.catalog_changes c),
                        case when exists (select from seatkeeper.requests r where r.answer_seq >= at.answer)
                            then (select max(r.answer_seq) from seatkeeper.requests r) end)
        from at
        union all
        select 'waitlist_ticket_seq', case when s.is_called then s.last_value + 1 else s.last_value end,
               (select max(b.waitlist_ticket) from seatkeeper.bookings b)
        from seatkeeper.waitlist_ticket_seq s
        union all
        select 'bookings_booking_id_seq', case when s.is_called then s.last_value + 1 else s.last_value end,
               (select max(b.booking_id) from seatkeeper.bookings b)
        from seatkeeper.bookings_booking_id_seq s
        union all
        select 'enrollments_enrollment_id_seq', case when s.is_called then s.last_value + 1 else s.last_value end,
               (select max(e.enrollment_id) from seatkeeper.enrollments e)
        from seatkeeper.enrollments_enrollment_id_seq s
        union all
        select 'credit_transactions_transaction_id_seq', case when s.is_called then s.last_value + 1 else s.last_value end,
               (select max(t.transaction_id) from seatkeeper.credit_transactions t)
        from seatkeeper.credit_transactions_transaction_id_seq s
        union all
        select 'fill_marks_mark_id_seq', case when s.is_called then s.last_value + 1 else s.last_value end,
               (select max(m.mark_id) from seatkeeper.fill_marks m)
        from seatkeeper.fill_marks_mark_id_seq s
        union all
        select 'pauses_pause_id_seq', case when s.is_called then s.last_value + 1 else s.last_value end,
               (select max(p.pause_id) from seatkeeper.pauses p)
        from seatkeeper.pauses_pause_id_seq s
        union all
        select 'operator_actions_action_id_seq', case when s.is_called then s.last_value + 1 else s.last_value end,
               (select max(a.action_id) from seatkeeper.operator_actions a)
        from seatkeeper.operator_actions_action_id_seq s
        union all
        select 'invariant_runs_run_id_seq', case when s.is_called then s.last_value + 1 else s.last_value end,
               (select max(i.run_id) from seatkeeper.invariant_runs i)
        from seatkeeper.invariant_runs_run_id_seq s
    )
    select c.sequence, c.next, c.stored, format('select setval(''seatkeeper.%s'', %s)', c.sequence, c.stored)
    from compared c
    where c.stored >= c.next
$$;
comment on function seatkeeper.sequences_behind() is
    'Sequences whose next number is stored already, or a greater one, and what puts them right; none in a sound database';
