"""Producers that ask without a pause, and read what they are told; see scripts/failover."""

import random
import threading
import time
import uuid

import psycopg
from psycopg.types.json import Jsonb

USERS, SEMESTERS, SESSIONS = 2_000, 20, 100
PRODUCERS = 4
ENQUEUE = "select kind, status, duplicate from seatkeeper.enqueue(%s, %s, %s, producer => 'failover')"
RECEIPTS = "select request_id, status, outcome, reason, result::text from seatkeeper.get_receipts(%s)"
# What leaves it open whether a request has arrived (57P…, 08…, no reply) comes as an OperationalError; 25006 is the word of a
# leader that is one no more.
OPEN = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.errors.ReadOnlySqlTransaction)


class Load:
    """Producers, half of them through the pooler."""

    def __init__(self, direct, pooled):
        self.urls = (direct, pooled)
        self.acknowledged, self.answers, self.repeated = {}, {}, 0
        self.lock, self.over = threading.Lock(), threading.Event()
        self.threads, self.broken = [], []

    def seed(self):
        with psycopg.connect(self.urls[0]) as connection:
            connection.execute("insert into seatkeeper.users (user_id) select generate_series(1, %s)", (USERS,))
            connection.execute(
                "insert into seatkeeper.semesters (semester_id, code, name, status, max_players, enrollment_cost)"
                " select n, 'S' || n, 'Semester ' || n, 'ENROLLMENT_OPEN', 200, 10 from generate_series(1, %s) n", (SEMESTERS,))
            connection.execute(
                "insert into seatkeeper.sessions (session_id, semester_id, starts_at, ends_at, capacity)"
                " select n, 1 + n %% %s, now() + interval '30 days' + n * interval '1 hour',"
                " now() + interval '30 days' + n * interval '1 hour' + interval '50 minutes', 5 from generate_series(1, %s) n",
                (SEMESTERS, SESSIONS))

    def begin(self):
        works = [(self.produce, number) for number in range(PRODUCERS)] + [(self.read, 0)]
        for work, number in works:
            thread = threading.Thread(target=self.guarded, args=(work, number), daemon=True)
            self.threads.append(thread)
            thread.start()

    def guarded(self, work, number):
        try:
            work(number)
        except Exception as error:  # Whatever it is, it is bad news.
            self.broken.append(f"{type(error).__name__}: {error}")
            raise

    def rest(self, seconds):
        """Goes on for so long."""
        self.over.wait(seconds)
        assert not self.broken, f"a producer broke: {self.broken[0]}"

    def end(self):
        """No new requests; those in hand are sent until they are acknowledged."""
        self.over.set()
        for thread in self.threads:
            thread.join(timeout=60)
        assert not any(thread.is_alive() for thread in self.threads), "a producer is still waiting for an acknowledgement"
        assert not self.broken, f"a producer broke: {self.broken[0]}"

    def acknowledged_count(self):
        assert not self.broken, f"a producer broke: {self.broken[0]}"
        return len(self.acknowledged)

    def all_answered(self, url):
        with psycopg.connect(url) as connection:
            return not connection.execute("select exists (select from seatkeeper.requests where status = 'queued')").fetchone()[0]

    @staticmethod
    def draw():
        user, semester, session = random.randint(1, USERS), random.randint(1, SEMESTERS), random.randint(1, SESSIONS)
        return random.choice([
            ("grant_credits", {"user_id": user, "amount": 10}),
            ("enroll", {"user_id": user, "semester_id": semester}),
            ("enroll", {"user_id": user, "semester_id": 1 + session % SEMESTERS}),
            ("unenroll", {"user_id": user, "semester_id": semester}),
            ("book", {"user_id": user, "session_id": session}),
            ("cancel_booking", {"user_id": user, "session_id": session}),
        ])

    def connect(self, number):
        # Through a pooler no statement is prepared.
        return psycopg.connect(self.urls[number % 2], autocommit=True, prepare_threshold=None, connect_timeout=5)

    def produce(self, number):
        connection = None
        while not self.over.is_set():
            request_id, (kind, payload) = uuid.uuid4(), self.draw()
            sent = 0
            while True:
                try:
                    connection = connection or self.connect(number)
                    sent += 1
                    receipt = connection.execute(ENQUEUE, (request_id, kind, Jsonb(payload))).fetchone()
                    break
                except OPEN:
                    # Nobody knows whether it arrived: the same request again, on another connection.
                    if connection:
                        connection.close()
                    connection = None
                    time.sleep(0.1)
            # (Only what was sent before can be a duplicate.)
            assert receipt[0] == kind and (sent > 1 or not receipt[2]), f"{request_id}: {receipt}"
            with self.lock:
                self.acknowledged[request_id] = time.time()
                self.repeated += sent > 1
            time.sleep(0.005)

    def read(self, _):
        """Reads answers as producers do. What it has read has been said, and may not change."""
        connection = None
        while not self.over.is_set():
            with self.lock:
                waiting = [i for i in self.acknowledged if i not in self.answers][:500]
            try:
                connection = connection or self.connect(0)
                for request_id, *answer in connection.execute(RECEIPTS, (waiting,)).fetchall():
                    if answer[0] != "queued":
                        self.answers[request_id] = tuple(answer)
            except OPEN:
                if connection:
                    connection.close()
                connection = None
            time.sleep(0.1)
