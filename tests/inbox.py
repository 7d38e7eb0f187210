"""A web hook that keeps what it is sent."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Inbox:
    """Notices that arrived, and the environment that makes Airflow send them here."""

    def __init__(self, port: int) -> None:
        self.notices: list[dict] = []
        service = {"path": f"json://127.0.0.1:{port}", "tag": "all"}
        connection = json.dumps({"conn_type": "apprise", "extra": {"config": service}})
        self.environment = {"MODIT_NOTIFY": "modit_ops", "AIRFLOW_CONN_MODIT_OPS": connection}


@contextmanager
def open_inbox() -> Iterator[Inbox]:
    """Serves an inbox on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            inbox.notices.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    inbox = Inbox(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield inbox
    finally:
        server.shutdown()
        thread.join()
