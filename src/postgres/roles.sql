-- The roles of Seatkeeper. They belong to the whole server, so they are no part of the migrations. Run it again after
-- each `migrate up`: it gives the roles exactly these rights, whatever they had before. It takes the owner of the schema;
-- where roles are missing, with the right to create roles (createrole). No superuser is needed.
--
-- They cannot log in. Give them to accounts that can: create role app login in role seatkeeper_producer;
-- That takes a superuser or, from PostgreSQL 16 on, whoever made the roles (before, any account with createrole).

-- One at a time in a database, and not beside a migration; across databases the exceptions below are enough. A lock that only the owner
-- can have.
set local lock_timeout = '10s';
lock table seatkeeper._sqlx_migrations in share update exclusive mode;
set local lock_timeout = 0;

do $$
declare
    name text;
begin
    foreach name in array array['seatkeeper_enroller', 'seatkeeper_booker', 'seatkeeper_cashier', 'seatkeeper_registrar',
                                'seatkeeper_producer', 'seatkeeper_reader', 'seatkeeper_catalog', 'seatkeeper_worker',
                                'seatkeeper_monitor', 'seatkeeper_operator'] loop
        begin
            if not exists (select from pg_catalog.pg_roles where rolname = name) then
                execute format('create role %I nologin', name);
            end if;
        exception when duplicate_object or unique_violation then
            null; -- somebody else has made it at the same moment
        end;
    end loop;
end $$;

revoke all on all tables in schema seatkeeper
    from seatkeeper_enroller, seatkeeper_booker, seatkeeper_cashier, seatkeeper_registrar, seatkeeper_producer,
         seatkeeper_reader, seatkeeper_catalog, seatkeeper_worker, seatkeeper_monitor, seatkeeper_operator;
revoke all on all sequences in schema seatkeeper
    from seatkeeper_enroller, seatkeeper_booker, seatkeeper_cashier, seatkeeper_registrar, seatkeeper_producer,
         seatkeeper_reader, seatkeeper_catalog, seatkeeper_worker, seatkeeper_monitor, seatkeeper_operator;
-- Not those of the extension that lives in the same schema: they are the superuser's, open to everybody, and PostgreSQL
-- would complain of each.
do $$
declare
    ours text;
begin
    select string_agg(p.oid::regprocedure::text, ', ') into ours
    from pg_catalog.pg_proc p
    where p.pronamespace = 'seatkeeper'::regnamespace
      and not exists (select from pg_catalog.pg_depend d
                      where d.classid = 'pg_catalog.pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e');
    execute 'revoke all on routine ' || ours || '
        from seatkeeper_enroller, seatkeeper_booker, seatkeeper_cashier, seatkeeper_registrar, seatkeeper_producer,
         seatkeeper_reader, seatkeeper_catalog, seatkeeper_worker, seatkeeper_monitor, seatkeeper_operator';
end $$;
revoke all on schema seatkeeper
    from seatkeeper_enroller, seatkeeper_booker, seatkeeper_cashier, seatkeeper_registrar, seatkeeper_producer,
         seatkeeper_reader, seatkeeper_catalog, seatkeeper_worker, seatkeeper_monitor, seatkeeper_operator;
revoke all on all tables in schema apalis
    from seatkeeper_enroller, seatkeeper_booker, seatkeeper_cashier, seatkeeper_registrar, seatkeeper_producer,
         seatkeeper_reader, seatkeeper_catalog, seatkeeper_worker, seatkeeper_monitor, seatkeeper_operator;
revoke all on schema apalis
    from seatkeeper_enroller, seatkeeper_booker, seatkeeper_cashier, seatkeeper_registrar, seatkeeper_producer,
         seatkeeper_reader, seatkeeper_catalog, seatkeeper_worker, seatkeeper_monitor, seatkeeper_operator;
grant usage on schema seatkeeper
    to seatkeeper_enroller, seatkeeper_booker, seatkeeper_cashier, seatkeeper_registrar, seatkeeper_producer,
         seatkeeper_reader, seatkeeper_catalog, seatkeeper_worker, seatkeeper_monitor, seatkeeper_operator;

-- Producers: the doors, which work with the rights of their owner, and nothing else. What may be asked there is a right of each kind
-- of work; a producer has them all.
grant execute on function seatkeeper.enqueue, seatkeeper.enqueue_many, seatkeeper.get_receipt, seatkeeper.get_receipts,
    seatkeeper.get_booking, seatkeeper.get_balance
    to seatkeeper_enroller, seatkeeper_booker, seatkeeper_cashier, seatkeeper_registrar;
grant execute on function seatkeeper.may_enroll to seatkeeper_enroller;
grant execute on function seatkeeper.may_book to seatkeeper_booker;
grant execute on function seatkeeper.may_grant_credits to seatkeeper_cashier;
grant execute on function seatkeeper.may_register to seatkeeper_registrar;
grant usage on type seatkeeper.receipt, seatkeeper.booking
    to seatkeeper_enroller, seatkeeper_booker, seatkeeper_cashier, seatkeeper_registrar, seatkeeper_reader,
       seatkeeper_monitor, seatkeeper_operator;
do $$
declare
    part text;
begin
    foreach part in array array['seatkeeper_enroller', 'seatkeeper_booker', 'seatkeeper_cashier', 'seatkeeper_registrar'] loop
        -- Only whoever made the roles may: asked of nobody for whom it is done.
        if not pg_has_role('seatkeeper_producer', part, 'member') then
            begin
                execute format('grant %I to seatkeeper_producer', part);
            exception when duplicate_object or unique_violation then
                null; -- somebody else has done it at the same moment
            end;
        end if;
    end loop;
end $$;

-- The catalog, without balance, counters and clocks: those are Seatkeeper's.
grant select on seatkeeper.users, seatkeeper.semesters, seatkeeper.sessions to seatkeeper_catalog;
grant insert (user_id, is_active), update (is_active) on seatkeeper.users to seatkeeper_catalog;
grant insert (semester_id, code, name, status, max_players, enrollment_cost, refund_percent, enrollment_closes_at,
              unenroll_closes_at),
      update (code, name, status, max_players, enrollment_cost, refund_percent, enrollment_closes_at,
              unenroll_closes_at)
    on seatkeeper.semesters to seatkeeper_catalog;
grant insert (session_id, semester_id, starts_at, ends_at, capacity, status, booking_closes_at, cancellation_closes_at),
      update (starts_at, ends_at, capacity, status, booking_closes_at, cancellation_closes_at)
    on seatkeeper.sessions to seatkeeper_catalog;

-- Who may read everything. Sequences too: some of them count.
grant select on all tables in schema seatkeeper to seatkeeper_worker, seatkeeper_reader, seatkeeper_operator;
grant select on all sequences in schema seatkeeper
    to seatkeeper_worker, seatkeeper_reader, seatkeeper_monitor, seatkeeper_operator;
grant execute on function seatkeeper.get_receipt, seatkeeper.get_receipts, seatkeeper.get_booking, seatkeeper.get_balance,
    seatkeeper.may_read_all to seatkeeper_reader, seatkeeper_monitor, seatkeeper_operator;
-- A monitor reads no payload, in which people are named and written about, nor its digest, which tells what was guessed.
do $$
declare
    granted text;
begin
    for granted in
        select format('grant select (%s) on seatkeeper.%I to seatkeeper_monitor',
                      string_agg(quote_ident(a.attname), ', ' order by a.attnum), c.relname)
        from pg_catalog.pg_class c
        join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        where c.relnamespace = 'seatkeeper'::regnamespace and c.relkind = 'r'
          and c.relname in ('requests', 'request_tombstones') and a.attname not in ('payload', 'payload_digest')
        group by c.relname
        union all
        select format('grant select on seatkeeper.%I to seatkeeper_monitor', c.relname)
        from pg_catalog.pg_class c
        where c.relnamespace = 'seatkeeper'::regnamespace and c.relkind = 'r' and c.relname not in ('requests', 'request_tombstones')
    loop
        execute granted;
    end loop;
end $$;

-- Workers: what a batch writes, column by column. What was asked, and the ledger, they cannot change.
grant update (credit_balance) on seatkeeper.users to seatkeeper_worker;
grant update (status, enrolled_count, last_decided_at, cancelled_by) on seatkeeper.semesters to seatkeeper_worker;
-- To lock a session, one column has to be writable. (Its counter follows the bookings by a trigger.)
grant update (confirmed_count) on seatkeeper.sessions to seatkeeper_worker;
grant insert, update (status, is_active, withdrawn_at) on seatkeeper.enrollments to seatkeeper_worker;
grant insert on seatkeeper.credit_transactions to seatkeeper_worker;
grant insert, update (status, promoted_at, cancelled_at, cancelled_because) on seatkeeper.bookings to seatkeeper_worker;
grant insert, update (status, recorded_at, request_id) on seatkeeper.attendance to seatkeeper_worker;
grant update (status, outcome, reason, result, attempts, run_at, finished_at, answer_seq, last_error, semester_id,
              user_id, hold)
    on seatkeeper.requests to seatkeeper_worker;
grant insert on seatkeeper.catalog_changes to seatkeeper_worker;
grant delete on seatkeeper.fill_marks to seatkeeper_worker;
-- A mark whose filling fails is put off.
grant update (attempts, retry_at, last_error) on seatkeeper.fill_marks to seatkeeper_worker;
-- What a check has found goes through a door; the version before wrote it by statements of its own.
grant execute on function seatkeeper.record_check to seatkeeper_worker, seatkeeper_operator;
grant insert, update (finished_at) on seatkeeper.invariant_runs to seatkeeper_worker;
grant insert on seatkeeper.invariant_results to seatkeeper_worker;
grant insert, update (last_seen), delete on seatkeeper.invariant_sightings to seatkeeper_worker;
grant usage on sequence seatkeeper.answer_seq, seatkeeper.waitlist_ticket_seq,
    seatkeeper.enrollments_enrollment_id_seq, seatkeeper.bookings_booking_id_seq to seatkeeper_worker;

-- To be alone at a chore.
grant update on seatkeeper.lock_roll_call, seatkeeper.lock_critical_checks, seatkeeper.lock_retention, seatkeeper.lock_statistics
    to seatkeeper_worker;

-- The schedule and its chores. Retention and statistics work with the rights of the owner of the schema.
grant insert, delete, update (expression, time_zone, since, last_slot, last_finished_at, retain_seconds)
    on seatkeeper.schedules to seatkeeper_worker;
grant execute on function seatkeeper.retire_requests, seatkeeper.refresh_statistics to seatkeeper_worker;
grant usage on schema apalis to seatkeeper_worker, seatkeeper_reader, seatkeeper_monitor, seatkeeper_operator;
grant select on apalis._sqlx_migrations, apalis.jobs, apalis.workers
    to seatkeeper_worker, seatkeeper_reader, seatkeeper_monitor, seatkeeper_operator;
grant insert, delete, update (status, attempts, run_at, last_result, lock_at, lock_by, done_at)
    on apalis.jobs to seatkeeper_worker;
grant insert, delete, update (worker_type, storage_name, layers, last_seen) on apalis.workers to seatkeeper_worker;

-- Operators: their doors, which record who, when and why. They write nothing by statements of their own.
grant execute on function seatkeeper.retry_requests, seatkeeper.cancel_requests, seatkeeper.dismiss_requests, seatkeeper.pause,
    seatkeeper.resume, seatkeeper.accept_violation, seatkeeper.unaccept_violation to seatkeeper_operator;
