"""Books session 5 for user 7, who is enrolled in its semester, looks at the booking and gives it back; DATABASE_URL
names a database with Seatkeeper's schema."""

import os
import time
import uuid

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb


def ask(connection, kind, payload):
    """Asks, and waits for the answer; not for ever, since nobody may be there to give one."""
    request_id = uuid.uuid4()
    enqueue = "select * from seatkeeper.enqueue(%s, %s, %s, producer => %s)"
    receipt = connection.execute(enqueue, (request_id, kind, Jsonb(payload), "example in Python")).fetchone()
    pause = 0.02
    for _ in range(15):
        if receipt["status"] != "queued":
            break
        time.sleep(pause)
        pause = min(pause * 2, 1)
        receipt = connection.execute("select * from seatkeeper.get_receipt(%s)", (request_id,)).fetchone()
    print(f"{kind}: {receipt['status']}" + (f", {receipt['reason']}" if receipt["reason"] else ""))
    return receipt


def look(connection, booking_id):
    """The answer is of its moment; this is how the booking is now."""
    booking = connection.execute("select * from seatkeeper.get_booking(%s)", (booking_id,)).fetchone()
    if booking["waitlist_position"]:
        print(f"now: {booking['status']}, place {booking['waitlist_position']} in the waitlist")
    elif booking["cancelled_because"]:
        print(f"now: {booking['status']}, {booking['cancelled_because']}")
    else:
        print(f"now: {booking['status']}")


with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True, row_factory=dict_row) as connection:
    booked = ask(connection, "book", {"user_id": 7, "session_id": 5})
    if booked["outcome"] == "applied":
        booking_id = booked["result"]["booking_id"]
        look(connection, booking_id)
        ask(connection, "cancel_booking", {"user_id": 7, "booking_id": booking_id})
        look(connection, booking_id)
