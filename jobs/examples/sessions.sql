-- An owner of the catalog gives semester 3 and its session 5 one place more each, and holds the session an hour later;
-- run with psql on a database with Seatkeeper's schema.

begin;
-- What is changed together is locked first, in the order that the workers use.
select from seatkeeper.semesters where semester_id = 3 for no key update;
select from seatkeeper.sessions where session_id = 5 order by session_id for no key update;

update seatkeeper.semesters set max_players = max_players + 1 where semester_id = 3;
-- All sessions in one statement: halfway through several, two might lie over each other that do so in the end no more.
update seatkeeper.sessions
set capacity = capacity + 1, starts_at = starts_at + interval '1 hour', ends_at = ends_at + interval '1 hour'
where session_id = 5;
commit;

-- The bookings have moved along; who waits gets the new place as soon as a worker is there. Nobody has to ask for it.
select session_id, capacity, confirmed_count from seatkeeper.sessions where session_id = 5;
