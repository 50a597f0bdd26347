-- Rows in every table that grows, without a word to the planner. Triggers are silent: nothing here has to be right, only many.
set local session_replication_role = replica;
insert into seatkeeper.users (user_id) select generate_series(1000, 6000);
insert into seatkeeper.semesters (semester_id, code, status)
    select n, 'many ' || n, 'ENROLLMENT_OPEN' from generate_series(1000, 2000) n;
insert into seatkeeper.sessions (session_id, semester_id, starts_at, ends_at, capacity)
    select n, n % 1000 + 1000, now() + interval '9 days', now() + interval '10 days', 10 from generate_series(1000, 4000) n;
-- Answered; ready; with nothing but a user, as grants are; not to be done yet, and paused; failed.
insert into seatkeeper.requests (request_id, kind, payload, semester_id, user_id, status, outcome, answer_seq, finished_at)
    select gen_random_uuid(), 'enroll', '{}', n % 1000 + 1000, n % 5000 + 1000, 'done', 'applied',
           nextval('seatkeeper.answer_seq'), now()
    from generate_series(1, 20000) n;
insert into seatkeeper.requests (request_id, kind, payload, semester_id, user_id)
    select gen_random_uuid(), 'enroll', '{}', n % 1000 + 1000, n % 5000 + 1000 from generate_series(1, 10000) n;
insert into seatkeeper.requests (request_id, kind, payload, user_id)
    select gen_random_uuid(), 'grant_credits', '{}', n % 500 + 1000 from generate_series(1, 5000) n;
insert into seatkeeper.requests (request_id, kind, payload, semester_id, user_id, hold, run_at)
    select gen_random_uuid(), 'book', '{}', n % 1000 + 1000, n % 5000 + 1000,
           case when n % 2 = 0 then 'scheduled' else 'paused' end, now() + n * interval '1 hour'
    from generate_series(1, 5000) n;
insert into seatkeeper.requests (request_id, kind, payload, semester_id, user_id, status, reason, finished_at)
    select gen_random_uuid(), 'book', '{}', n % 1000 + 1000, n % 5000 + 1000, 'failed', 'internal_error', now()
    from generate_series(1, 2000) n;
insert into seatkeeper.enrollments (user_id, semester_id, status, is_active, withdrawn_at)
    select n % 5000 + 1000, n % 999 + 1000, case when n < 9000 then 'APPROVED' else 'WITHDRAWN' end, n < 9000,
           case when n >= 9000 then now() end
    from generate_series(1, 12000) n;
insert into seatkeeper.credit_transactions (user_id, transaction_type, amount, balance_after, request_id)
    select n % 5000 + 1000, 'PURCHASE', 1, 1, gen_random_uuid() from generate_series(1, 10000) n;
insert into seatkeeper.bookings (user_id, session_id, status, starts_at, ends_at, cancelled_at, cancelled_because)
    select n % 5000 + 1000, n % 2999 + 1000, case n % 3 when 0 then 'CONFIRMED' when 1 then 'WAITLISTED' else 'CANCELLED' end,
           now() + n * interval '1 hour', now() + (n + 1) * interval '1 hour',
           case when n % 3 = 2 then now() end, case when n % 3 = 2 then 'requested' end
    from generate_series(1, 12000) n;
insert into seatkeeper.attendance (booking_id, status, recorded_at)
    select booking_id, 'present', now() from seatkeeper.bookings where status = 'CONFIRMED';
insert into seatkeeper.fill_marks (semester_id, session_id, retry_at)
    select n % 1000 + 1000, n % 3000 + 1000, case when n % 2 = 0 then now() end from generate_series(1, 4000) n;
insert into seatkeeper.catalog_changes (change_seq, statement_seq, changed_at, "table", key, before, after)
    select c.seq, c.seq, now(), 'users', c.seq % 5000, '{}', '{}'
    from (select nextval('seatkeeper.answer_seq') as seq from generate_series(1, 10000)) c;
insert into seatkeeper.invariant_runs (trigger, finished_at) select 'manual', now() from generate_series(1, 2000);
insert into seatkeeper.invariant_results (run_id, invariant, status, violations)
    select r.run_id, 'INV-' || n, 'holds', 0 from seatkeeper.invariant_runs r, generate_series(1, 3) n;
