"""What each address answers."""

from __future__ import annotations

import base64
import io
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

pytest.importorskip("PIL")

from PIL import Image

from unconv import psf
from unconv.explore.choice import FILE
from unconv.explore.site import Site
from unconv.explore.subject import Subject
from unconv.operators.linear_operator import MemoryLimitError
from unconv.psf.families import FAMILIES

from .small_site import CHOICE, REGION, Remembered, photograph, small_site


@pytest.fixture(scope="module")
def site() -> Site:
    return small_site()


def told(site: Site, path: str, sent: object = None, status: int = 200) -> dict:
    method = "GET" if sent is None else "POST"
    reply = site.answer(method, path, b"" if sent is None else json.dumps(sent).encode())
    assert reply.status == status, reply.body
    assert reply.kind == "application/json"
    return json.loads(reply.body)


def pixels(uri: str) -> np.ndarray:
    kind, _, data = uri.partition("base64,")
    assert kind == "data:image/png;"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


@pytest.mark.parametrize(
    ("path", "kind"), [("/", "text/html"), ("/style.css", "text/css"), ("/page.js", "javascript")]
)
def test_the_files_of_the_page(site, path, kind):
    reply = site.answer("GET", path, b"")
    assert reply.status == 200
    assert kind in reply.kind
    assert b"//cdn" not in reply.body
    assert reply.body.count(b"http") == reply.body.count(b"http://www.w3.org/2000/svg")


def test_what_the_page_begins_with(site):
    start = told(site, "/start")
    assert start["name"] == "y.png"
    assert start["size"] == [128, 128]
    assert [f["name"] for f in start["families"]] == list(FAMILIES)
    assert "tv" in start["priors"]
    assert pixels(start["overview"]).shape == (128, 128)


@pytest.mark.parametrize("carefully", [False, True])
def test_a_preview(site, carefully):
    sent = {"choice": CHOICE, "region": REGION, "carefully": carefully}
    made = told(site, "/preview", sent)
    before, after = pixels(made["before"]), pixels(made["after"])
    y = (photograph()[0, 5:61, 10:74].clamp(0, 1) * 255).round().numpy()
    assert np.array_equal(before, y)
    assert after.shape == (56, 64)
    assert after.std() > before.std()  # sharper
    assert made["prior"] == "wiener"
    assert made["command"].endswith("--psf disk:2")
    assert bool(made["said"]) is carefully
    assert (made["psf"]["rows"], len(made["psf"]["levels"])) == (5, 25)


def test_evidence(site):
    curve = told(site, "/evidence", {"choice": CHOICE, "along": 0})
    best = curve["values"][int(np.argmax(curve["evidence"]))]
    assert 1.8 < best < 2.2


def test_the_likeliest_psf_is_where_its_sliders_go(site):
    found = told(site, "/estimate", {"light": "auto"})
    assert found["family"] in FAMILIES
    assert found["found"].startswith(found["family"] + ":")
    choice = CHOICE | {"family": found["family"], "numbers": found["numbers"]}
    assert told(site, "/preview", {"choice": choice, "region": REGION, "carefully": False})
    assert told(site, "/estimate", {"light": "moon"}, 400)["error"].startswith("light must be")


def test_a_picture_without_blur_has_no_psf():
    subject = Subject("y", photograph(radius=0.3), None, True)
    found = told(Site(subject, Remembered()), "/estimate", {"light": "as-is"})
    assert (found["family"], found["numbers"], found["found"]) == (None, [], "no blur")


def test_a_picture_too_small_for_evidence_says_so():
    site = Site(Subject("y", photograph(size=24), None, True), Remembered())
    for path, sent in (
        ("/estimate", {"light": "auto"}),
        ("/evidence", {"choice": CHOICE, "along": 0}),
    ):
        assert "too small to tell its psf" in told(site, path, sent, 400)["error"]


def test_saving_is_the_command_s(site):
    sent = CHOICE | {"family": "motion", "numbers": [7, 30], "prior": "tv", "strength": 0.01}
    assert told(site, "/save", {"choice": sent})["path"] == "x.png"
    assert site.command.saved[-1].psf_text == "motion:7,30"


def test_a_psf_of_a_file_is_used_and_never_opened():
    site = small_site(file_psf=psf.disk(2), file_name="psf.npy")
    assert told(site, "/start")["families"][0]["title"] == "psf.npy"
    sent = {"choice": CHOICE | {"family": FILE, "numbers": []}, "region": REGION}
    from_file, by_name = (
        pixels(told(site, "/preview", s)["after"]) for s in (sent, sent | {"choice": CHOICE})
    )
    assert np.array_equal(from_file, by_name)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/etc/passwd", b"", 404),
        ("GET", "/../site.py", b"", 404),
        ("GET", "/page.js?x", b"", 404),
        ("GET", "/save", b"", 405),
        ("POST", "/start", b"{}", 405),
        ("POST", "/", b"{}", 404),
        ("POST", "/preview", b"", 400),
        ("POST", "/preview", b"[" * 4000, 400),
        ("POST", "/preview", b"\xff\xfe", 400),
        ("POST", "/preview", b"[]", 400),
        ("POST", "/preview", b"{}", 400),
        ("POST", "/evidence", b'{"choice": null, "along": 0}', 400),
    ],
)
def test_what_is_wrong_is_refused(site, method, path, body, status):
    reply = site.answer(method, path, body)
    assert reply.status == status
    assert json.loads(reply.body)["error"].endswith(".")


@pytest.mark.parametrize(
    ("error", "status"),
    [(MemoryLimitError("too large."), 422), (OSError("no room."), 400), (KeyError("x"), 500)],
)
def test_what_fails_is_told(monkeypatch, capsys, error, status):
    site = small_site()

    def fail(choice, say):
        raise error

    monkeypatch.setattr(site, "command", SimpleNamespace(save=fail))
    assert told(site, "/save", {"choice": CHOICE}, status)["error"].endswith(".")
    assert ("Traceback" in capsys.readouterr().err) == (status == 500)


def test_cancelled(monkeypatch):
    site = small_site()

    def save(choice, say):
        told(site, "/cancel", {})
        say("the next step")

    monkeypatch.setattr(site, "command", SimpleNamespace(save=save))
    assert told(site, "/save", {"choice": CHOICE}) == {"superseded": True}
    assert told(site, "/state") == {"step": "", "fraction": None}


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_float_pictures_are_shown_from_black_to_white(channels):
    y = 1000 + 50 * photograph(channels=channels)
    y[:, 0, 0] = torch.nan
    site = Site(Subject("y.fits", y, None, False), Remembered())
    shown = pixels(told(site, "/start")["overview"])
    assert shown.ndim == (3 if channels >= 3 else 2)
    assert shown.min() < 20
    assert shown.max() > 235
