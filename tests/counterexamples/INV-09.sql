-- invariant: INV-09
-- guard: chk_request_answer
-- offends: {"request_id": "00000000-0000-0000-0000-000000000001", "what": "late"}
-- offends: {"request_id": "00000000-0000-0000-0000-000000000002", "what": "late"}
-- offends: {"request_id": "00000000-0000-0000-0000-000000000003", "what": "attempts"}
-- offends: {"request_id": "00000000-0000-0000-0000-00000000000a", "what": "enrollment 12"}
-- offends: {"request_id": "00000000-0000-0000-0000-00000000000a", "what": "ledger row 102"}
-- offends: {"request_id": "00000000-0000-0000-0000-00000000000b", "what": "booking 22"}
-- offends: {"request_id": "00000000-0000-0000-0000-00000000000c", "what": "attendance of booking 22"}
-- offends: {"request_id": "00000000-0000-0000-0000-00000000000d", "what": "no outcome"}
-- offends: {"request_id": "00000000-0000-0000-0000-00000000000e", "what": "no number"}
-- offends: {"request_id": "00000000-0000-0000-0000-00000000000f", "what": "no outcome"}
-- offends: {"request_id": "00000000-0000-0000-0000-00000000000f", "what": "no number"}
-- also: INV-05
-- == given
insert into seatkeeper.users (user_id) values (1), (2);
insert into seatkeeper.semesters (semester_id, code, status, max_players, enrolled_count)
values (1, 'SPRING', 'ENROLLMENT_OPEN', 10, 1), (2, 'AUTUMN', 'ENROLLMENT_OPEN', 10, 0);
insert into seatkeeper.sessions (session_id, semester_id, starts_at, ends_at, capacity)
values (1, 1, now() - interval '2 hours', now() - interval '1 hour', 5);
-- Answered; answered long ago, of which only the tombstone is left; imported.
insert into seatkeeper.requests (request_id, kind, payload, status, outcome, finished_at, answer_seq, semester_id, user_id, attempts)
values ('00000000-0000-0000-0000-000000000010', 'enroll', '{"user_id": 1, "semester_id": 1}', 'done', 'applied', now(), 1, 1, 1, 1);
insert into seatkeeper.request_tombstones (request_id, kind, payload_digest, status, outcome, enqueued_at, finished_at)
values ('00000000-0000-0000-0000-000000000011', 'book', '', 'done', 'applied', now() - interval '1 year', now() - interval '1 year');
insert into seatkeeper.enrollments (enrollment_id, user_id, semester_id, status, is_active, request_id)
values (11, 1, 1, 'APPROVED', true, '00000000-0000-0000-0000-000000000010');
insert into seatkeeper.credit_transactions (transaction_id, user_id, transaction_type, amount, balance_after, enrollment_id, request_id)
values (101, 1, 'TOURNAMENT_ENROLLMENT', 0, 0, 11, '00000000-0000-0000-0000-000000000010');
insert into seatkeeper.bookings (booking_id, user_id, session_id, status, starts_at, ends_at, request_id)
select 21, 1, session_id, 'CONFIRMED', starts_at, ends_at, '00000000-0000-0000-0000-000000000011'::uuid from seatkeeper.sessions;
insert into seatkeeper.attendance (booking_id, status) values (21, 'present');
-- Old requests that nobody has to have answered: failed, cancelled, not due yet, paused with the semester, the kind or by a
-- retry set aside; one whose pause ended just now, and one that an operator has just retried.
insert into seatkeeper.pauses (kind, semester_id, paused_by, reason) values (null, 2, 'somebody', 'repairs'), ('book', null, 'somebody', 'repairs');
insert into seatkeeper.operator_actions (operator, action, reason, request_ids, details)
values ('somebody', 'resume', 'done', '{}', '{"kind": "cancel_booking", "semester_id": null, "everything": false}'),
       ('somebody', 'retry', 'again', '{00000000-0000-0000-0000-000000000028}', '{}');
insert into seatkeeper.requests (request_id, kind, payload, status, reason, finished_at, enqueued_at, run_at, hold, semester_id, user_id, attempts)
select ('00000000-0000-0000-0000-0000000000' || r.id)::uuid, r.kind, '{}', r.status, r.reason,
       case when r.status <> 'queued' then now() end, now() - interval '1 day', r.run_at, r.hold, r.semester_id, 1, r.attempts
from (values ('21', 'enroll', 'failed', 'attempts_exhausted', null::timestamptz, null, 1, 5),
             ('22', 'enroll', 'cancelled', null, null, null, 1, 0),
             ('23', 'enroll', 'queued', null, now() + interval '1 hour', 'scheduled', 1, 4),
             ('24', 'enroll', 'queued', null, null, null, 2, 0),
             ('25', 'book', 'queued', null, null, 'paused', 1, 0),
             ('26', 'enroll', 'queued', null, now() - interval '50 minutes', null, 1, 0),
             ('27', 'cancel_booking', 'queued', null, null, null, 1, 0),
             ('28', 'unenroll', 'queued', null, null, null, 1, 0)) r (id, kind, status, reason, run_at, hold, semester_id, attempts);
-- == breach
-- Ready for more than an hour; due for more than an hour, and not let in; tried without end.
insert into seatkeeper.requests (request_id, kind, payload, enqueued_at, run_at, hold, semester_id, user_id, attempts)
values ('00000000-0000-0000-0000-000000000001', 'enroll', '{"user_id": 2, "semester_id": 1}', now() - interval '61 minutes', null, null, 1, 2, 0),
       ('00000000-0000-0000-0000-000000000002', 'enroll', '{"user_id": 2, "semester_id": 1}', now() - interval '1 day', now() - interval '61 minutes', 'scheduled', 1, 2, 1),
       ('00000000-0000-0000-0000-000000000003', 'enroll', '{"user_id": 2, "semester_id": 1}', now(), null, null, 1, 2, 100);
-- Effects of requests that were refused, have failed, or never were.
insert into seatkeeper.requests (request_id, kind, payload, status, outcome, reason, finished_at, answer_seq, semester_id, user_id, attempts)
values ('00000000-0000-0000-0000-00000000000a', 'enroll', '{"user_id": 2, "semester_id": 1}', 'done', 'refused', 'semester_full', now(), 2, 1, 2, 1),
       ('00000000-0000-0000-0000-00000000000b', 'book', '{"user_id": 2, "session_id": 1}', 'failed', null, 'attempts_exhausted', now(), null, 1, 2, 5);
insert into seatkeeper.enrollments (enrollment_id, user_id, semester_id, status, is_active, request_id)
values (12, 2, 1, 'APPROVED', true, '00000000-0000-0000-0000-00000000000a');
update seatkeeper.semesters set enrolled_count = 2 where semester_id = 1;
insert into seatkeeper.credit_transactions (transaction_id, user_id, transaction_type, amount, balance_after, enrollment_id, request_id)
values (102, 2, 'TOURNAMENT_ENROLLMENT', 0, 0, 12, '00000000-0000-0000-0000-00000000000a');
insert into seatkeeper.bookings (booking_id, user_id, session_id, status, starts_at, ends_at, request_id)
select 22, 2, session_id, 'CONFIRMED', starts_at, ends_at, '00000000-0000-0000-0000-00000000000b'::uuid from seatkeeper.sessions;
insert into seatkeeper.attendance (booking_id, status, request_id) values (22, 'late', '00000000-0000-0000-0000-00000000000c');
-- Answered without saying what, without a place in the order, or neither.
insert into seatkeeper.requests (request_id, kind, payload, status, outcome, finished_at, answer_seq, semester_id, user_id, attempts)
values ('00000000-0000-0000-0000-00000000000d', 'enroll', '{"user_id": 2, "semester_id": 1}', 'done', null, now(), 3, 1, 2, 1),
       ('00000000-0000-0000-0000-00000000000e', 'enroll', '{"user_id": 2, "semester_id": 1}', 'done', 'applied', now(), null, 1, 2, 1),
       ('00000000-0000-0000-0000-00000000000f', 'enroll', '{"user_id": 2, "semester_id": 1}', 'done', null, now(), null, 1, 2, 1);
-- == drop
alter table seatkeeper.requests drop constraint chk_request_answer;
-- == repair
-- The late ones are answered or cancelled. Of the others the requests come back, as the backup has them.
update seatkeeper.requests set status = 'cancelled', hold = null, finished_at = now()
where request_id in ('00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-000000000002', '00000000-0000-0000-0000-000000000003');
delete from seatkeeper.requests
where request_id in ('00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-00000000000b');
insert into seatkeeper.request_tombstones (request_id, kind, payload_digest, status, outcome, enqueued_at, finished_at)
values ('00000000-0000-0000-0000-00000000000a', 'enroll', '', 'done', 'applied', now(), now()),
       ('00000000-0000-0000-0000-00000000000b', 'book', '', 'done', 'applied', now(), now()),
       ('00000000-0000-0000-0000-00000000000c', 'record_attendance', '', 'done', 'applied', now(), now());
-- What was answered without saying what is as the backup has it; an answer is never changed, so this once without that guard.
alter table seatkeeper.requests disable trigger trg_answer_for_good;
update seatkeeper.requests set outcome = 'refused', reason = 'semester_full', answer_seq = coalesce(answer_seq, nextval('seatkeeper.answer_seq'))
where request_id in ('00000000-0000-0000-0000-00000000000d', '00000000-0000-0000-0000-00000000000f');
update seatkeeper.requests set answer_seq = nextval('seatkeeper.answer_seq') where request_id = '00000000-0000-0000-0000-00000000000e';
alter table seatkeeper.requests enable trigger trg_answer_for_good;
alter table seatkeeper.requests add constraint chk_request_answer check (
    seatkeeper.answer_fits(status, hold, outcome, reason, result, answer_seq, finished_at));
