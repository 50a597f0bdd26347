-- Enrolls user 7 in semester 3, which must exist; run with psql on a database with Seatkeeper's schema.

-- One ID for each intention, stored before it is sent, so that it can be sent again after a crash.
select gen_random_uuid() as request_id \gset

-- In the transaction of your own changes: either both happen or none.
begin;
select 'first' as sent, kind, status, duplicate
from seatkeeper.enqueue(:'request_id', 'enroll', '{"user_id": 7, "semester_id": 3}', producer => 'example in SQL');
commit;

-- After a timeout, say: the same ID with the same kind and payload is the same request.
select 'again' as sent, kind, status, duplicate
from seatkeeper.enqueue(:'request_id', 'enroll', '{"user_id": 7, "semester_id": 3}', producer => 'example in SQL');

-- The answer, once status is no longer queued; all null when the ID is not known.
select request_id, kind, status, outcome, reason, result
from seatkeeper.get_receipt(:'request_id');
