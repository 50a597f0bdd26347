#!/usr/bin/env bash
# HAProxy takes every server for up until it has looked at it for the first time.
#
# One would guess: with `option httpchk` a server whose check was never passed gets no connection; so behind `GET /primary` of Patroni no
#   client ever meets a standby.
# What happens: when it starts, HAProxy believes all of them up, and the first looks are spread over the first `inter`. Until then it leads
#   clients to a server whose check is going to fail, where a write is refused (25006 by a standby of PostgreSQL). One failed look
#   is enough at first, whatever `fall` says. So each restart of HAProxy has such a moment, as long as `inter`.
# Versions: HAProxy 2.6.12 (of the PATH, or Debian 12's, unpacked and not installed).
# Seen (inter 4s, fall 3; the check of "second" is always answered with 503):
#   in the first moment   first second first second first second
#   after the first look  first first first first first first
#
# Exit 0: it is so. 1: no more. 3: HAProxy 2.6 is not to be had.
set -euo pipefail
work=$(mktemp -d "${TMPDIR:-/tmp}/finding.XXXXXX")
started=()
trap 'for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done; rm -rf "$work"' EXIT
haproxy=$(PATH=$PATH:/usr/sbin command -v haproxy) || {
    (cd "$work" && apt-get download -qq haproxy liblua5.3-0 libopentracing-c-wrapper0 libopentracing1 >/dev/null 2>&1) || exit 3
    for package in "$work"/*.deb; do dpkg -x "$package" "$work/debian"; done
    LD_LIBRARY_PATH=$work/debian/usr/lib/$(uname -m)-linux-gnu
    export LD_LIBRARY_PATH
    haproxy=$work/debian/usr/sbin/haproxy
}
version=$("$haproxy" -v)
version=${version%%$'\n'*}
echo "$version"
[[ $version == *' 2.6.'* ]] || exit 3

# Two servers that say their name and hang up, and a page for each that says how it is.
cat >"$work/servers.py" <<'PYTHON'
import socket, threading
from http.server import BaseHTTPRequestHandler, HTTPServer

def page(status):
    class Page(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port

def server(name):
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            connection, _ = listener.accept()
            connection.sendall(name.encode())
            connection.close()

    threading.Thread(target=serve, daemon=True).start()
    return listener.getsockname()[1]

free = socket.create_server(("127.0.0.1", 0)).getsockname()[1]
print(server("first"), page(200), server("second"), page(503), free, flush=True)
threading.Event().wait()
PYTHON
python3 "$work/servers.py" >"$work/ports" &
started+=($!)
until [ -s "$work/ports" ]; do sleep 0.1; done
read -r first first_page second second_page port <"$work/ports"
cat >"$work/haproxy.cfg" <<CFG
defaults
    mode tcp
    timeout connect 2s
    timeout client 5s
    timeout server 5s
listen leader
    bind 127.0.0.1:$port
    balance roundrobin
    option httpchk GET /primary
    http-check expect status 200
    default-server inter 4s fall 3 rise 1
    server first 127.0.0.1:$first check port $first_page
    server second 127.0.0.1:$second check port $second_page
CFG
"$haproxy" -db -f "$work/haproxy.cfg" >/dev/null 2>&1 &
started+=($!)
# Who answers six clients, one after the other.
six() {
    python3 - "$port" <<'PYTHON'
import socket, sys, time

def ask():
    while True:
        try:
            with socket.create_connection(("127.0.0.1", int(sys.argv[1])), 5) as connection:
                return connection.recv(100).decode()
        except ConnectionRefusedError:
            time.sleep(0.01)

print(*(ask() for _ in range(6)))
PYTHON
}
before=$(six)
sleep 5
after=$(six)
printf '%s\n' "in the first moment   $before" "after the first look  $after"
[[ $before == *second* ]] && [ "$after" = 'first first first first first first' ]
