-- The doors for reading: receipts, bookings and balances, from any language.

create function seatkeeper.get_receipt(request_id uuid) returns seatkeeper.receipt
language plpgsql stable security definer set search_path = pg_catalog, seatkeeper, pg_temp as $$
#variable_conflict use_column
declare
    known seatkeeper.requests;
    answer seatkeeper.receipt;
begin
    select r.* into known from seatkeeper.requests r where r.request_id = get_receipt.request_id;
    if found then
        return seatkeeper.receipt_of(known, false);
    end if;
    select t.request_id, t.kind, t.status, t.outcome, t.reason, null, false, t.enqueued_at, t.finished_at, t.attempts
    into answer
    from seatkeeper.request_tombstones t where t.request_id = get_receipt.request_id;
    if found then
        return answer;
    end if;
    return null;
end $$;
comment on function seatkeeper.get_receipt(uuid) is 'The receipt as it is now; null when the ID is not known';

create function seatkeeper.get_receipts(request_ids uuid[]) returns setof seatkeeper.receipt
language sql stable security definer set search_path = pg_catalog, seatkeeper, pg_temp as $$
    select (r.receipt).*
    from (select seatkeeper.get_receipt(u.id) as receipt, u.ord
          from unnest(request_ids) with ordinality u (id, ord) offset 0) r
    where (r.receipt).request_id is not null
    order by r.ord
$$;
comment on function seatkeeper.get_receipts(uuid[]) is 'The receipts of those of these IDs that are known, in their order';

create type seatkeeper.booking as (
    booking_id        bigint,
    user_id           bigint,
    session_id        bigint,
    status            text,
    waitlist_position bigint,
    booked_at         timestamptz,
    promoted_at       timestamptz,
    cancelled_at      timestamptz,
    cancelled_because text
);

create function seatkeeper.get_booking(booking_id bigint) returns seatkeeper.booking
language sql stable security definer set search_path = pg_catalog, seatkeeper, pg_temp as $$
    select b.booking_id, b.user_id, b.session_id, b.status,
           case when b.status = 'WAITLISTED' then (
               select count(*) from seatkeeper.bookings w
               where w.session_id = b.session_id and w.status = 'WAITLISTED' and w.waitlist_ticket <= b.waitlist_ticket) end,
           b.booked_at, b.promoted_at, b.cancelled_at, b.cancelled_because
    from seatkeeper.bookings b where b.booking_id = get_booking.booking_id
$$;
comment on function seatkeeper.get_booking(bigint) is 'The booking as it is now; null when there is none';

create function seatkeeper.get_balance(user_id bigint) returns bigint
language sql stable security definer set search_path = pg_catalog, seatkeeper, pg_temp as $$
    select u.credit_balance from seatkeeper.users u where u.user_id = get_balance.user_id
$$;
comment on function seatkeeper.get_balance(bigint) is 'Credits left; null when there is no such user';

-- Functions are open to everybody by default; the roles say who may call them.
revoke all on function seatkeeper.enqueue, seatkeeper.enqueue_many, seatkeeper.get_receipt, seatkeeper.get_receipts,
    seatkeeper.get_booking, seatkeeper.get_balance from public;
