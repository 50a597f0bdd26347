-- What every measurement begins with, on top of the migrations and of usual.sql. Variables: users, semesters.
create schema peers;
create table peers.ask (
    number bigint primary key, id uuid not null, user_id bigint not null, semester_id bigint not null);

insert into seatkeeper.users (user_id) select generate_series(1, :users);
insert into seatkeeper.semesters (semester_id, code, status, enrollment_cost)
select g, 'S' || g, 'ENROLLMENT_OPEN', 10 from generate_series(1, :semesters) g;

-- Everybody gets credits by a request like any other, so that every balance has its ledger.
select count(*) as grants from (
    select seatkeeper.enqueue_many(jsonb_agg(jsonb_build_object('request_id', gen_random_uuid(), 'kind', 'grant_credits',
        'payload', jsonb_build_object('user_id', user_id, 'amount', 1000000))))
    from seatkeeper.users group by user_id / 1000) receipts;
analyze;
