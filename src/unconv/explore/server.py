"""The web server of the page, and who may ask it: one browser on this machine.

It is the standard library's, for one visitor, a dozen small addresses and answers that take
seconds of computing: no framework would have anything to add.  What keeps others out:

- it listens on 127.0.0.1 alone;
- every address begins with a random token of 192 bits, which only the printed line knows;
- Host must be this address with this port, so that no name that somebody points here is served
  (DNS rebinding), and a request that tells of another Origin is refused, also if only by
  Sec-Fetch-Site;
- a body is JSON of at most a few kilobytes of known length, and a silent connection is closed;
- the page's own headers (Content-Security-Policy) allow it nothing from anywhere else;
- answers are made of what site.py holds; no path that a browser sends is opened.
"""

from __future__ import annotations

import hmac
import secrets
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from .site import Reply, Site

ADDRESS = "127.0.0.1"
LARGEST_BODY = 4096  # bytes of a request
_SILENCE = 30.0  # seconds after which a connection that says nothing is closed
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Server(ThreadingHTTPServer):
    """A site on a port of this machine.

    Parameters
    ----------
    site : what is answered
    port : 0 for any that is free

    Attributes
    ----------
    url : of the page, its token included

    Raises
    ------
    OSError
        If the port is taken, or may not be had.
    """

    daemon_threads = True  # an answer that nobody waits for does not keep the program alive
    allow_reuse_address = sys.platform != "win32"  # where it would share a port that is in use

    def __init__(self, site: Site, port: int = 0) -> None:
        self.site, self.token = site, secrets.token_urlsafe(24)
        super().__init__((ADDRESS, port), _Handler)

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{ADDRESS}:{self.server_port}/{self.token}/"

    def server_bind(self) -> None:
        """Without the look-up of a name, which takes seconds where there is no network."""
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = ADDRESS, self.server_address[1]

    def close(self) -> bool:
        """Give the port back, and end what is computed; whether it has ended."""
        self.server_close()
        return self.site.turns.stop()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away is no error."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "unconv", ""
    timeout = _SILENCE

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        refused = self._refusal()
        if refused is not None:
            self.close_connection = True  # its body was not read
            self._send(Reply(refused.value, "text/plain; charset=utf-8", refused.phrase.encode()))
            return
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        path = self.path.removeprefix(f"/{self.server.token}")
        self._send(self.server.site.answer(self.command, path, body))

    def _refusal(self) -> HTTPStatus | None:
        """Why a request is not answered, None if it is."""
        own = f"{ADDRESS}:{self.server.server_port}"
        if self.headers.get_all("Host") != [own]:
            return HTTPStatus.MISDIRECTED_REQUEST
        origins = self.headers.get_all("Origin") or []
        if any(origin != f"http://{own}" for origin in origins):
            return HTTPStatus.FORBIDDEN
        if self.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            return HTTPStatus.FORBIDDEN
        token, slash, _ = self.path[1:].partition("/")
        if not slash or not hmac.compare_digest(token.encode(), self.server.token.encode()):
            return HTTPStatus.NOT_FOUND
        return self._refusal_of_body()

    def _refusal_of_body(self) -> HTTPStatus | None:
        lengths = self.headers.get_all("Content-Length") or []
        if self.headers.get("Transfer-Encoding") or len(lengths) > 1:
            return HTTPStatus.LENGTH_REQUIRED
        if lengths and not (lengths[0].isascii() and lengths[0].isdigit()):
            return HTTPStatus.BAD_REQUEST
        if lengths and (len(lengths[0]) > 8 or int(lengths[0]) > LARGEST_BODY):
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        if self.command == "POST":
            if not lengths:
                return HTTPStatus.LENGTH_REQUIRED
            if self.headers.get_content_type() != "application/json":
                return HTTPStatus.UNSUPPORTED_MEDIA_TYPE
        return None

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        headers = {"Content-Type": reply.kind, "Content-Length": str(len(reply.body))} | _HEADERS
        if self.close_connection:
            headers["Connection"] = "close"
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the token is in every address."""
