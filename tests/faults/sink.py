"""A broker's ingress that only writes down what it is given."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self


class Sink:
    """An HTTP server on the loopback interface that takes events, or refuses them."""

    def __init__(self) -> None:
        #: Ids of the events that it took, in order.
        self.taken: list[str] = []
        #: What it answers; None hangs up without a word.
        self.status: int | None = 202
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"] or 0))
                if sink.status is None:
                    self.close_connection = True
                    return
                if 200 <= sink.status < 300:
                    sink.taken.append(str(self.headers["ce-id"]))
                self.send_response(sink.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    def of(self, job_id: str) -> list[str]:
        """What the events it took say about a job."""
        return [taken.removeprefix(f"{job_id}.") for taken in self.taken if taken.startswith(job_id)]
