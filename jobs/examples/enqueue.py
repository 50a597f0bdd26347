"""Enrolls user 7 in semester 3, which must exist; DATABASE_URL names a database with Seatkeeper's schema."""

import os
import time
import uuid

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

ENQUEUE = "select * from seatkeeper.enqueue(%s, %s, %s, producer => %s)"
GET_RECEIPT = "select * from seatkeeper.get_receipt(%s)"

# One ID for each intention, stored before it is sent, so that it can be sent again after a crash.
request_id = uuid.uuid4()
request = (request_id, "enroll", Jsonb({"user_id": 7, "semester_id": 3}), "example in Python")

with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True, row_factory=dict_row) as connection:
    # In the transaction of your own changes: either both happen or none.
    with connection.transaction():
        first = connection.execute(ENQUEUE, request).fetchone()
    print("first: duplicate =", first["duplicate"])

    # After a timeout, say: the same ID with the same kind and payload is the same request.
    again = connection.execute(ENQUEUE, request).fetchone()
    print("again: duplicate =", again["duplicate"])

    # Ask for the answer, less and less often.
    pause = 0.02
    while True:
        receipt = connection.execute(GET_RECEIPT, (request_id,)).fetchone()
        if receipt["status"] != "queued" or pause > 1:
            break
        time.sleep(pause)
        pause *= 2
    print("receipt:", receipt["kind"], receipt["request_id"], "is", receipt["status"])
    print("reason:", receipt["reason"])
    print("result:", receipt["result"])
