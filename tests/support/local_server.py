"""A local web server for tests of downloads, which can break connections, lie and change its files."""

import contextlib
import dataclasses
import hashlib
import http.server
import re
import threading
from collections.abc import Iterator


@dataclasses.dataclass
class Served:
    """One file and how it is served; tests change the fields between requests.

    Attributes:
        body: The file's content.
        status: Sent instead of 200.
        headers: Sent in addition; the value None removes a header.
        ranges: Whether Range and If-Range are supported.
        breaks: After how many bytes of the body the next responses break off, one entry for each.
        announced: Content-Length that is sent instead of the true one of a complete response.
        chunked: Whether the body is sent in chunks; the last one is missing if it breaks off.
        span: Content-Range that is sent instead of the true one.
        always: Whether ranges are served even if If-Range names another version.
    """

    body: bytes = b""
    status: int = 200
    headers: dict[str, str | None] = dataclasses.field(default_factory=dict)
    ranges: bool = True
    breaks: list[int] = dataclasses.field(default_factory=list)
    announced: int | None = None
    chunked: bool = False
    span: str | None = None
    always: bool = False

    @property
    def tag(self) -> str:
        return f'"{hashlib.md5(self.body).hexdigest()}"'


@dataclasses.dataclass
class Request:
    """A request, and what was sent."""

    path: str
    range: str | None
    if_range: str | None
    status: int = 0
    sent: int = 0


class Server:
    """Serves ``files``, path to ``Served``, and remembers the requests."""

    def __init__(self) -> None:
        self.files: dict[str, Served] = {}
        self.requests: list[Request] = []
        handler = type("Handler", (_Handler,), {"owner": self})
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def serve(self, path: str, served: Served) -> str:
        """Serves a file from now on, and returns its URL."""
        self.files[path] = served
        return self.address + path

    def stop(self) -> None:
        """Stops the server."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()


@contextlib.contextmanager
def server() -> Iterator[Server]:
    one = Server()
    try:
        yield one
    finally:
        one.stop()


class _Handler(http.server.BaseHTTPRequestHandler):
    owner: Server
    timeout = 10

    def log_message(self, format, *args):
        pass

    def do_GET(self):
        request = Request(self.path, self.headers["Range"], self.headers["If-Range"])
        self.owner.requests.append(request)
        served = self.owner.files.get(self.path)
        if served is None:
            request.status = 404
            self.send_error(404)
            return
        start = 0
        request.status = served.status
        headers: dict[str, str | None] = {"ETag": served.tag}
        asked = re.fullmatch(r"bytes=(\d+)-", request.range or "")
        if served.ranges and asked and (request.if_range == served.tag or served.always):
            start, total = int(asked[1]), len(served.body)
            request.status = 206 if start < total else 416
            headers["Content-Range"] = served.span or f"bytes {start}-{total - 1}/{total}"
        body = served.body[start:] if request.status in (200, 206) else b""
        if served.chunked:
            self.protocol_version = "HTTP/1.1"
            headers |= {"Transfer-Encoding": "chunked", "Connection": "close"}
        else:
            headers["Content-Length"] = str(len(body) if served.announced is None else served.announced)
        self.send_response(request.status)
        for name, value in (headers | served.headers).items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        broken = bool(served.breaks)
        body = body[: served.breaks.pop(0)] if broken else body
        with contextlib.suppress(ConnectionError):  # the client has closed the connection
            if served.chunked:
                body = b"".join(b"%x\r\n%b\r\n" % (len(c), c) for c in (body[:7], body[7:]) if c)
                body += b"" if broken else b"0\r\n\r\n"
            for position in range(0, len(body), 1 << 16):
                request.sent += self.wfile.write(body[position : position + (1 << 16)])
        self.close_connection = True
