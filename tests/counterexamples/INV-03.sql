-- invariant: INV-03
-- guard: chk_enrollment_state
-- offends: {"enrollment_id": 11}
-- offends: {"enrollment_id": 12}
-- offends: {"enrollment_id": 13}
-- offends: {"enrollment_id": 16}
-- offends: {"enrollment_id": 17}
-- also: INV-05
-- == given
insert into seatkeeper.users (user_id, credit_balance) values (1, 0), (2, 0), (3, 0), (4, 0), (5, 0), (6, 0), (7, 0);
insert into seatkeeper.semesters (semester_id, code, status, max_players, enrolled_count)
values (1, 'SPRING', 'ENROLLMENT_OPEN', 10, 1);
-- One of each state that there is; only the first holds a place.
insert into seatkeeper.enrollments (enrollment_id, user_id, semester_id, status, is_active, withdrawn_at)
values (11, 1, 1, 'APPROVED', true, null), (12, 2, 1, 'WITHDRAWN', false, now()), (13, 3, 1, 'WITHDRAWN', false, now()),
       (14, 4, 1, 'PENDING', false, null), (15, 5, 1, 'REJECTED', false, null), (16, 6, 1, 'PENDING', false, null),
       (17, 7, 1, 'REJECTED', false, null);
insert into seatkeeper.credit_transactions (transaction_id, user_id, transaction_type, amount, balance_after, enrollment_id)
values (101, 1, 'TOURNAMENT_ENROLLMENT', 0, 0, 11);
-- == breach
-- Withdrawn and active; then withdrawn, but never; approved without a place; a time of withdrawal without one; no such status.
update seatkeeper.enrollments set status = 'WITHDRAWN', withdrawn_at = now() where enrollment_id = 11;
update seatkeeper.enrollments set withdrawn_at = null where enrollment_id = 12;
update seatkeeper.enrollments set status = 'APPROVED', withdrawn_at = null where enrollment_id = 13;
update seatkeeper.enrollments set withdrawn_at = now() where enrollment_id = 16;
update seatkeeper.enrollments set status = 'GONE' where enrollment_id = 17;
-- == drop
alter table seatkeeper.enrollments drop constraint chk_enrollment_state, drop constraint chk_enrollment_withdrawn_at,
    drop constraint chk_enrollment_status;
-- == repair
update seatkeeper.enrollments set status = 'APPROVED', withdrawn_at = null where enrollment_id = 11;
update seatkeeper.enrollments set status = 'WITHDRAWN', withdrawn_at = now() where enrollment_id in (12, 13);
update seatkeeper.enrollments set withdrawn_at = null where enrollment_id = 16;
update seatkeeper.enrollments set status = 'REJECTED' where enrollment_id = 17;
alter table seatkeeper.enrollments
    add constraint chk_enrollment_status check (status in ('APPROVED', 'WITHDRAWN', 'PENDING', 'REJECTED')),
    add constraint chk_enrollment_state check ((status = 'APPROVED') = is_active),
    add constraint chk_enrollment_withdrawn_at check ((status = 'WITHDRAWN') = (withdrawn_at is not null));
