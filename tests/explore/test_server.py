"""Who may ask: the one browser that knows the address, from the page itself."""

from __future__ import annotations

import http.client
import json
import socket
import threading

import pytest

pytest.importorskip("PIL")

from unconv.explore.server import LARGEST_BODY, Server

from .small_site import CHOICE, REGION, small_site


@pytest.fixture(scope="module")
def server():
    server = Server(small_site())
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    assert server.close()
    thread.join()


def ask(server, path=None, method="GET", body=None, **headers):
    """(status, headers, body) of one request; None leaves a header out."""
    own = {"Host": f"127.0.0.1:{server.server_port}"}
    if body is not None:
        own |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    own |= {name.replace("_", "-"): value for name, value in headers.items()}
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    address = f"/{server.token}/" if path is None else path
    connection.putrequest(method, address, skip_host=True, skip_accept_encoding=True)
    for name, value in own.items():
        if value is not None:
            connection.putheader(name, value)
    connection.endheaders(body)
    reply = connection.getresponse()
    found = reply.status, dict(reply.getheaders()), reply.read()
    connection.close()
    return found


def test_the_page_and_its_headers(server):
    status, headers, body = ask(server)
    assert status == 200
    assert b"<!doctype html>" in body
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_only_this_machine_is_listened_to(server):
    assert server.socket.getsockname()[0] == "127.0.0.1"
    assert server.url == f"http://127.0.0.1:{server.server_port}/{server.token}/"
    assert len(server.token) == 32
    with Server(small_site()) as other:
        assert other.token != server.token


@pytest.mark.parametrize(
    "host", [None, "localhost", "evil.example", "127.0.0.1", "127.0.0.1:1", "evil.example:80"]
)
def test_another_host_is_refused(server, host):
    assert ask(server, Host=host)[0] == 421


def test_two_hosts_are_refused(server):
    own = f"127.0.0.1:{server.server_port}"
    lines = [f"GET /{server.token}/ HTTP/1.1", f"Host: {own}", "Host: evil.example", "", ""]
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=30) as wire:
        wire.sendall("\r\n".join(lines).encode())
        assert b" 421 " in wire.recv(100)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
def test_another_origin_is_refused(server, headers):
    assert ask(server, **headers)[0] == 403


def test_its_own_origin_is_served(server):
    own = f"http://127.0.0.1:{server.server_port}"
    assert ask(server, Origin=own, Sec_Fetch_Site="same-origin")[0] == 200


@pytest.mark.parametrize("path", ["/", "/start", "/x/start", "//start", "/%2e%2e/", "*"])
def test_nothing_is_served_without_the_token(server, path):
    status, _, body = ask(server, path)
    assert status == 404
    assert server.token.encode() not in body


def test_a_part_of_the_token_is_not_enough(server):
    assert ask(server, f"/{server.token[:-1]}/")[0] == 404
    assert ask(server, f"/{server.token}")[0] == 404
    assert ask(server, f"/{server.token}x/")[0] == 404


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content_Length": str(LARGEST_BODY + 1)}, 413),
        ({"Content_Length": "9" * 5000}, 413),
        ({"Content_Length": "-1"}, 400),
        ({"Content_Length": "²"}, 400),
        ({"Content_Length": None}, 411),
        ({"Transfer_Encoding": "chunked"}, 411),
        ({"Content_Type": "text/plain"}, 415),
        ({"Content_Type": "application/x-www-form-urlencoded"}, 415),
    ],
)
def test_bodies_are_small_json_of_known_length(server, headers, status):
    path = f"/{server.token}/cancel"
    assert ask(server, path, "POST", b"{}", **headers)[0] == status


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "HEAD", "TRACE"])
def test_other_methods_are_refused(server, method):
    assert ask(server, method=method)[0] == 501


def test_no_file_beside_the_page_s_is_served(server):
    for path in ("site.py", "../site.py", "..%2fsite.py", "/etc/passwd", "page/page.js"):
        assert ask(server, f"/{server.token}/{path}")[0] == 404


def test_a_question_and_its_answer(server):
    sent = json.dumps({"choice": CHOICE, "region": REGION}).encode()
    status, _, body = ask(server, f"/{server.token}/preview", "POST", sent)
    assert status == 200
    assert json.loads(body)["region"] == REGION


def test_a_port_that_is_in_use(server):
    with pytest.raises(OSError, match=r"in use|normally permitted"):
        Server(small_site(), server.server_port)
