-- invariant: INV-06
-- guard: chk_enrolled_within_capacity
-- offends: {"semester_id": 1, "what": "places"}
-- offends: {"semester_id": 2, "what": "counter"}
-- offends: {"semester_id": 4, "what": "counter"}
-- also: INV-05
-- == given
insert into seatkeeper.users (user_id) values (1), (2), (3);
-- Full; not full; without a bound; without places.
insert into seatkeeper.semesters (semester_id, code, status, max_players, enrolled_count)
values (1, 'SPRING', 'ENROLLMENT_OPEN', 2, 2), (2, 'AUTUMN', 'ENROLLMENT_OPEN', 3, 1), (3, 'CAMP', 'ENROLLMENT_OPEN', null, 1),
       (4, 'CUP', 'ENROLLMENT_OPEN', 0, 0);
insert into seatkeeper.enrollments (enrollment_id, user_id, semester_id, status, is_active, withdrawn_at)
values (11, 1, 1, 'APPROVED', true, null), (12, 2, 1, 'APPROVED', true, null), (13, 3, 1, 'WITHDRAWN', false, now()),
       (14, 1, 2, 'APPROVED', true, null), (15, 1, 3, 'APPROVED', true, null);
insert into seatkeeper.credit_transactions (transaction_id, user_id, transaction_type, amount, balance_after, enrollment_id)
values (101, 1, 'TOURNAMENT_ENROLLMENT', 0, 0, 11), (102, 2, 'TOURNAMENT_ENROLLMENT', 0, 0, 12),
       (103, 1, 'TOURNAMENT_ENROLLMENT', 0, 0, 14), (104, 1, 'TOURNAMENT_ENROLLMENT', 0, 0, 15);
-- == breach
-- One more than there are places, counted; then counters that are one too low and one too high.
insert into seatkeeper.enrollments (enrollment_id, user_id, semester_id, status, is_active) values (16, 3, 1, 'APPROVED', true);
insert into seatkeeper.credit_transactions (transaction_id, user_id, transaction_type, amount, balance_after, enrollment_id)
values (105, 3, 'TOURNAMENT_ENROLLMENT', 0, 0, 16);
update seatkeeper.semesters set enrolled_count = 3 where semester_id = 1;
update seatkeeper.semesters set enrolled_count = 0 where semester_id = 2;
update seatkeeper.semesters set enrolled_count = 1 where semester_id = 4;
-- == drop
alter table seatkeeper.semesters drop constraint chk_enrolled_within_capacity;
-- == repair
-- The owner makes room; the counters are counted again.
update seatkeeper.semesters set max_players = 3 where semester_id = 1;
update seatkeeper.semesters s
set enrolled_count = (select count(*) from seatkeeper.enrollments e where e.semester_id = s.semester_id and e.is_active)
where s.semester_id in (2, 4);
alter table seatkeeper.semesters add constraint chk_enrolled_within_capacity check (enrolled_count <= max_players);
