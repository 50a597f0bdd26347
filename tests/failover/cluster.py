"""Three nodes of Patroni, etcd, HAProxy and PgBouncer, in a directory of their own; see scripts/failover."""

import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

NODES = ("node1", "node2", "node3")
# What the cluster agrees on. See docs/failover.md for the why.
DCS = {
    "ttl": 20,
    "loop_wait": 5,
    "retry_timeout": 5,
    "synchronous_mode": True,
    "postgresql": {"use_pg_rewind": True, "parameters": {"max_connections": 200}},
}


class Unable(Exception):
    """It could not be tried."""


def until(what, seconds, holds):
    """Waits until something holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.1)


def find(program, *others):
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", *others])
    found = shutil.which(program, path=path)
    if not found:
        raise Unable(f"{program} is missing (`scripts/setup failover` installs it on Debian)")
    return found


def postgres_bin():
    """The directory of PostgreSQL's programs: SEATKEEPER_PG_BIN, or the system's newest."""
    if "SEATKEEPER_PG_BIN" in os.environ:
        return os.environ["SEATKEEPER_PG_BIN"]
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[4]))
    return str(installed[-1].parent) if installed else str(Path(find("initdb")).resolve().parent)


def get(url):
    """What a page of Patroni's says; None when it is not there."""
    try:
        with urllib.request.urlopen(url, timeout=5) as page:
            return json.load(page)
    except (OSError, ValueError):
        return None


def processes():
    """The parent of each process."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                pass
    return parents


def kill(pids):
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


class Cluster:
    """All of it. It ends with the `with`; what it has written is kept when that is left by an error."""

    def __init__(self, synchronous=True):
        self.dcs = {**DCS, "synchronous_mode": synchronous}
        self.programs = {name: find(name) for name in ("patroni", "etcd", "haproxy", "pgbouncer")}
        self.bin = postgres_bin()
        self.dir = Path(tempfile.mkdtemp(prefix="seatkeeper-failover."))
        self.account = None
        if os.geteuid() == 0:
            # PostgreSQL and PgBouncer do not run as root.
            self.account = next((a for a in pwd.getpwall() if a.pw_name == "postgres"), None) or pwd.getpwnam("nobody")
        self.password = secrets.token_hex(16)
        self.taken = set()
        self.etcd, self.haproxy, self.pgbouncer = (self.free_port() for _ in range(3))
        self.postgres = {node: self.free_port() for node in NODES}
        self.rest = {node: self.free_port() for node in NODES}
        self.patroni, self.started, self.killed = {}, [], None
        self.own(self.dir)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        kill(self.tree([process.pid for process in self.started]) | self.postmasters())
        for process in self.started:
            process.wait()
        # Servers clear up their shared memory a moment after their postmaster is gone.
        deadline = time.monotonic() + 10
        while self.postmasters() and time.monotonic() < deadline:
            time.sleep(0.1)
        if kind in (None, KeyboardInterrupt, SystemExit):
            shutil.rmtree(self.dir, ignore_errors=True)
        else:
            print(f"failover: configuration and logs are kept in {self.dir}", flush=True)

    # The ground

    def free_port(self):
        while True:
            with socket.socket() as listener:
                listener.bind(("127.0.0.1", 0))
                port = listener.getsockname()[1]
            if port not in self.taken:
                self.taken.add(port)
                return port

    def own(self, path):
        if self.account:
            os.chown(path, self.account.pw_uid, self.account.pw_gid)

    def write(self, name, text):
        path = self.dir / name
        path.write_text(text)
        path.chmod(0o600)
        self.own(path)
        return str(path)

    def copy(self, program):
        if not os.path.exists(program):
            raise Unable(f"there is no {program}")
        place = self.dir / "seatkeeper"
        shutil.copy(program, place)
        self.own(place)
        return str(place)

    def start(self, name, command, environment=None):
        """Starts something whose words go to NAME.log; away from the terminal, so that Ctrl-C reaches us alone."""
        rights = {"user": self.account.pw_uid, "group": self.account.pw_gid, "extra_groups": []} if self.account else {}
        with open(self.dir / f"{name}.log", "ab") as log:
            process = subprocess.Popen(
                command, cwd=self.dir, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env={"PATH": os.environ["PATH"], "HOME": str(self.dir), "LC_ALL": "C.UTF-8", **(environment or {})}, **rights,
            )
        self.started.append(process)
        return process

    def tree(self, roots):
        """These processes and all that descend from them."""
        parents, found = processes(), {pid for pid in roots if pid}
        while True:
            more = {pid for pid, parent in parents.items() if parent in found} - found
            if not more:
                return found
            found |= more

    def postmaster(self, node):
        """The process that Patroni has started, and that outlives it; none when it is gone."""
        try:
            pid = int((self.dir / node / "postmaster.pid").read_text().split()[0])
            return pid if str(self.dir / node).encode() in Path(f"/proc/{pid}/cmdline").read_bytes() else None
        except (OSError, ValueError, IndexError):
            return None

    def postmasters(self):
        return self.tree([self.postmaster(node) for node in NODES])

    # The set-up of docs/failover.md

    def url(self, port):
        return f"postgres://seatkeeper:{self.password}@127.0.0.1:{port}/seatkeeper?sslmode=disable"

    def bring_up(self):
        here = f"http://127.0.0.1:{self.etcd}"
        self.start("etcd", [self.programs["etcd"], "--data-dir", str(self.dir / "etcd"), "--listen-client-urls", here,
                            "--advertise-client-urls", here, "--listen-peer-urls", f"http://127.0.0.1:{self.free_port()}"])
        until("etcd is there", 30, lambda: get(f"{here}/health"))
        for node in NODES:
            self.start_node(node)
            # The first becomes the leader, so that the others copy it.
            until(f"{node} is a member that runs", 120, lambda: self.running(node))
        self.await_standby()
        self.start("haproxy", [self.programs["haproxy"], "-db", "-f", self.write("haproxy.cfg", self.haproxy_settings())])
        self.write("users", f'"seatkeeper" "{self.password}"\n')
        self.start("pgbouncer", [self.programs["pgbouncer"], self.write("pgbouncer.ini", self.pgbouncer_settings())])
        self.make_database()

    def start_node(self, node):
        own = lambda port: f"127.0.0.1:{port}"  # noqa: E731
        login = {"username": "postgres", "password": self.password}
        settings = {
            "scope": "seatkeeper",
            "name": node,
            "restapi": {"listen": own(self.rest[node]), "connect_address": own(self.rest[node])},
            "etcd3": {"host": own(self.etcd)},
            "bootstrap": {"dcs": self.dcs, "initdb": [{"encoding": "UTF8"}, {"locale": "C"}, "data-checksums"]},
            "postgresql": {
                "listen": own(self.postgres[node]),
                "connect_address": own(self.postgres[node]),
                "data_dir": str(self.dir / node),
                "bin_dir": self.bin,
                "pgpass": str(self.dir / f"{node}.pgpass"),
                "parameters": {"unix_socket_directories": str(self.dir)},
                "pg_hba": ["local all all scram-sha-256", "host all all 127.0.0.1/32 scram-sha-256",
                           "host replication all 127.0.0.1/32 scram-sha-256"],
                "authentication": {"superuser": login, "replication": {"username": "replicator", "password": self.password}},
            },
        }
        # (What JSON is, YAML is as well.)
        file = self.write(f"{node}.yml", json.dumps(settings, indent=2))
        self.patroni[node] = self.start(node, [self.programs["patroni"], file])

    def haproxy_settings(self):
        servers = "".join(
            f"    server {node} 127.0.0.1:{self.postgres[node]} check port {self.rest[node]}\n" for node in NODES
        )
        return f"""global
    maxconn 500
    stats socket {self.dir}/haproxy.sock
defaults
    mode tcp
    timeout connect 2s
    timeout check 2s
    timeout client 1h
    timeout server 1h
listen leader
    bind 127.0.0.1:{self.haproxy}
    option httpchk GET /primary
    http-check expect status 200
    default-server inter 1s fall 2 rise 1 on-marked-down shutdown-sessions
{servers}"""

    def pgbouncer_settings(self):
        return f"""[databases]
seatkeeper = host=127.0.0.1 port={self.haproxy}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.pgbouncer}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {self.dir}/users
pool_mode = transaction
default_pool_size = 20
max_client_conn = 200
ignore_startup_parameters = extra_float_digits
server_login_retry = 1
server_connect_timeout = 3
server_check_delay = 5
query_wait_timeout = 15
"""

    def make_database(self):
        # When it starts, HAProxy takes every server for up until its first look at it, and lends connections to standbys.
        until("HAProxy knows the leader", 30, lambda: self.servers_up() == 1)
        for statement in (f"create role seatkeeper login password '{self.password}'", "create database seatkeeper owner seatkeeper"):
            subprocess.run(
                [f"{self.bin}/psql", "-Xqh", "127.0.0.1", "-p", str(self.haproxy), "-U", "postgres", "-c", statement],
                env=dict(os.environ, PGPASSWORD=self.password), check=True, stdout=subprocess.DEVNULL,
            )

    def servers_up(self):
        """How many servers HAProxy would send a connection to."""
        try:
            with socket.socket(socket.AF_UNIX) as console:
                console.connect(str(self.dir / "haproxy.sock"))
                console.sendall(b"show stat\n")
                said = b"".join(iter(lambda: console.recv(65536), b"")).decode()
        except OSError:
            return 0
        rows = [line.split(",") for line in said.splitlines()]
        return sum(row[1] in NODES and row[17].startswith("UP") for row in rows if len(row) > 17)

    # Who is who

    def member_list(self):
        for node in NODES:
            if node != self.killed:
                page = get(f"http://127.0.0.1:{self.rest[node]}/cluster")
                if page:
                    return page["members"]
        return []

    def running(self, node):
        return any(m["name"] == node and m["state"] in ("running", "streaming") for m in self.member_list())

    def members(self, role):
        return [m["name"] for m in self.member_list() if m["role"] == role and m["state"] in ("running", "streaming")]

    def leader(self):
        """The node that says of itself that it is the leader."""
        for node in NODES:
            if node != self.killed and get(f"http://127.0.0.1:{self.rest[node]}/primary"):
                return node
        return None

    def await_standby(self):
        """Waits for a standby that may take over."""
        role = "sync_standby" if self.dcs["synchronous_mode"] else "replica"
        until(f"a {role} of the leader", 90, lambda: self.members(role))

    # What happens to it

    def switch_over(self, leader):
        """What an operator asks for before maintenance (patronictl switchover)."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.rest[leader]}/switchover", json.dumps({"leader": leader}).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=120) as page:
                said = page.read().decode()
        except urllib.error.HTTPError as error:
            raise AssertionError(f"no switchover: {error.code} {error.read().decode()}") from error
        print(f"failover: Patroni: {said}", flush=True)

    def kill(self, leader):
        """What becomes of a node whose machine dies: Patroni and every process of its server are gone at once."""
        postmaster = self.postmaster(leader)
        assert postmaster, f"{leader} has no server to kill"
        # A second before, its network fails it: from then on no standby receives anything.
        for pid in self.tree([postmaster]):
            if b"walsender" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGSTOP)
        time.sleep(1)
        # Nobody may take leave of anybody: all are stopped before the first is killed.
        victims = self.tree([self.patroni[leader].pid, postmaster])
        for pid in victims:
            os.kill(pid, signal.SIGSTOP)
        kill(victims)
        self.killed = leader

    def bring_back(self):
        """The node that was killed comes back, and follows the new leader."""
        node, self.killed = self.killed, None
        self.start_node(node)
        until(f"{node} follows the new leader", 120, lambda: node != self.leader() and self.running(node))
