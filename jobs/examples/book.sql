-- Books session 5 for user 7, who is enrolled in its semester, and gives the booking back; run with psql on a database
-- with Seatkeeper's schema.

select gen_random_uuid() as book_id, gen_random_uuid() as cancel_id \gset

select 'book' as sent, status, duplicate
from seatkeeper.enqueue(:'book_id', 'book', '{"user_id": 7, "session_id": 5}', producer => 'example in SQL');

-- No need to wait for the answer: what is asked about one semester is answered in order of arrival. Whoever knows the
-- booking names that instead: {"user_id": 7, "booking_id": 11}.
select 'cancel_booking' as sent, status, duplicate
from seatkeeper.enqueue(:'cancel_id', 'cancel_booking', '{"user_id": 7, "session_id": 5}', producer => 'example in SQL');

-- The booking as it is now: all null as long as there is no answer, and when it was refused.
select booking.booking_id, booking.status, booking.waitlist_position, booking.cancelled_because
from seatkeeper.get_receipt(:'book_id') receipt,
     seatkeeper.get_booking((receipt.result ->> 'booking_id')::bigint) booking;
