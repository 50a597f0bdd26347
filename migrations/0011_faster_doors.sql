-- What a single call of enqueue costs, and how often the hot tables are vacuumed.
--
-- enqueue tried the insert last: it looked the ID up in two statements, validated, inserted, read the row back and made
-- the receipt with a function in SQL, which is parsed anew in every transaction. Now the insert comes first and looks the
-- ID up itself; only when it does not take place is the reason looked for. What a producer sees is the same.

create or replace function seatkeeper.request_defect(
    request_id uuid, kind text, payload jsonb, run_at timestamptz, expires_at timestamptz, producer text, traceparent text
) returns text language plpgsql immutable parallel safe as $$
begin
    -- Most requests are two ids and nothing else: one expression tells. (jsonb writes the shorter key first; 18 digits are
    -- below 2^63.)
    if request_id is not null and coalesce(run_at, expires_at) is null and traceparent is null
        and (char_length(producer) > 200) is not true
        and (case kind
            when 'enroll' then payload::text ~ '^{"user_id": [1-9][0-9]{0,17}, "semester_id": [1-9][0-9]{0,17}}$'
            when 'book' then payload::text ~ '^{"user_id": [1-9][0-9]{0,17}, "session_id": [1-9][0-9]{0,17}}$' end) then
        return null;
    end if;

    if request_id is null then return 'request_id'; end if;
    if kind is null or kind not in ('enroll', 'unenroll', 'book', 'cancel_booking', 'record_attendance',
                                    'cancel_semester', 'grant_credits') then return 'kind'; end if;
    if run_at not between '0001-01-01 00:00Z' and '9999-12-31 00:00Z' then return 'run_at'; end if;
    if expires_at not between '0001-01-01 00:00Z' and '9999-12-31 00:00Z' then return 'expires_at'; end if;
    if char_length(producer) > 200 then return 'producer'; end if;
    if traceparent !~ '^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$' then return 'traceparent'; end if;
    return seatkeeper.payload_defect(kind, payload);
end $$;

create or replace function seatkeeper.enqueue(
    request_id uuid, kind text, payload jsonb, run_at timestamptz default null, expires_at timestamptz default null,
    producer text default null, traceparent text default null
) returns seatkeeper.receipt
language plpgsql volatile security definer set search_path = pg_catalog, seatkeeper, pg_temp as $$
#variable_conflict use_column
declare
    answer seatkeeper.receipt;
    arrived timestamptz := clock_timestamp();
    own xid8;
    defect text := seatkeeper.request_defect(enqueue.request_id, enqueue.kind, enqueue.payload, enqueue.run_at,
                                             enqueue.expires_at, enqueue.producer, enqueue.traceparent);
begin
    loop
        if defect is null then
            -- Before its number is drawn: who looks at a snapshot sees that it is under way.
            own := pg_current_xact_id();
            insert into seatkeeper.requests as r (request_id, kind, payload, producer, traceparent, run_at, expires_at,
                                                  enqueued_at, semester_id, user_id, hold)
            select enqueue.request_id, enqueue.kind, enqueue.payload, enqueue.producer, enqueue.traceparent, enqueue.run_at,
                   enqueue.expires_at, arrived, seatkeeper.lane_of(enqueue.kind, enqueue.payload),
                   (enqueue.payload ->> 'user_id')::bigint,
                   case when enqueue.run_at > arrived then 'scheduled' end
            -- Both in one snapshot: a request that is being retired meanwhile is either there or a tombstone.
            where not exists (select from seatkeeper.requests r where r.request_id = enqueue.request_id)
              and not exists (select from seatkeeper.request_tombstones t where t.request_id = enqueue.request_id)
            on conflict (request_id) do nothing;
            if found then
                return row(enqueue.request_id, enqueue.kind, 'queued', null, null, null, false, arrived, null, 0)::seatkeeper.receipt;
            end if;
        end if;

        -- A known ID gets its receipt, however malformed the rest is this time.
        answer := seatkeeper.replay(enqueue.request_id, enqueue.kind, enqueue.payload);
        if answer.request_id is not null then
            return answer;
        end if;
        if defect is not null then
            perform seatkeeper.refuse_request(defect);
        end if;
        -- It was known when the insert looked, and is not any more: again.
    end loop;
end $$;

-- Each request is one insert and one update, each fill mark one insert and one deletion: with the server's own settings a
-- table of millions would be vacuumed once in hundreds of thousands of answers, and statistics lag as far behind.
alter table seatkeeper.requests set (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
alter table seatkeeper.fill_marks set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
alter table seatkeeper.bookings set (autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
-- Appended to for the most part: pages that are known to be visible to everybody make the checks' index scans cheap.
alter table seatkeeper.enrollments set (autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
alter table seatkeeper.credit_transactions set (autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
