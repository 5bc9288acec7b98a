"""What each address of the page answers; no sockets here, and no file but those of the page.

    GET  /                the page          GET  /style.css, /page.js      its other files
    GET  /start           the picture, its families of psfs, priors and lights
    POST /preview         a part restored: at once, or carefully
    POST /evidence        the likelihood along a parameter
    POST /estimate        the likeliest psf of all families
    POST /save            the whole picture restored, by the command
    POST /cancel          nobody waits for the above any more
    GET  /state           what is being done

All data are JSON.  What a browser may choose is checked in choice.py.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from dataclasses import replace
from importlib import resources
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from ..operators.linear_operator import MemoryLimitError
from ..pictures.restoration import PRIORS
from ..psf.estimation import NONE
from ..psf.families import FAMILIES
from .choice import (
    FILE,
    LARGEST_AREA,
    LIGHTS,
    Choice,
    Region,
    Told,
    families_for,
    parsed_choice,
    parsed_light,
    parsed_place,
    parsed_region,
)
from .evidence import curve_along
from .preview import Desk
from .subject import Subject
from .turns import SupersededError, Turns

_FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/style.css": ("style.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}


class Command(Protocol):
    """What the command line knows and the page does not."""

    def line(self, choice: Choice) -> str:
        """What to type for the same restoration."""

    def save(self, choice: Choice, say: Told) -> dict[str, Any]:
        """Restore the whole picture into a new file; what is to be told."""


class Reply(NamedTuple):
    """Status, kind of content, and bytes."""

    status: int
    kind: str
    body: bytes


class Site:
    """The page about one picture.

    Parameters
    ----------
    subject : the picture
    command : what saves
    file_psf : the psf that a file gave, None without
    file_name : of it
    light : chosen at the start
    """

    def __init__(
        self,
        subject: Subject,
        command: Command,
        *,
        file_psf: Tensor | None = None,
        file_name: str = "",
        light: str = "auto",
    ) -> None:
        self.desk, self.command, self.turns = Desk(subject), command, Turns()
        self.families = families_for(subject.size)
        self._file_psf, self._file_name, self._light = file_psf, file_name, light
        self._befores: dict[Region, str] = {}  # the latest part that was looked at
        self._gets = {"/start": self._start, "/state": self._state}
        self._posts = {
            "/preview": self._preview,
            "/evidence": self._evidence,
            "/estimate": self._estimate,
            "/save": self._save,
            "/cancel": self._cancel,
        }

    def answer(self, method: str, path: str, body: bytes) -> Reply:
        """The reply to a request that may be answered (server.py)."""
        if method == "GET" and path in _FILES:
            name, kind = _FILES[path]
            return Reply(200, kind, (resources.files(__package__) / "page" / name).read_bytes())
        if path not in self._gets | self._posts:
            return _json(404, {"error": "there is nothing at this address."})
        wanted = "GET" if path in self._gets else "POST"
        if method != wanted:
            return _json(405, {"error": f"this address answers {wanted} alone."})
        try:
            return _json(200, self._told(path, body))
        except SupersededError:
            return _json(200, {"superseded": True})  # as meant: no failure for the browser to log
        except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
            return _json(400, {"error": "the request is no JSON."})
        except MemoryLimitError as error:
            return _json(422, {"error": f"{error}"})
        except (ValueError, TypeError, NotImplementedError, OSError) as error:
            return _json(400, {"error": f"{error}"})
        except Exception:  # one bad answer is no reason to end the page
            traceback.print_exc(file=sys.stderr)
            return _json(500, {"error": "this failed inside unconv; the terminal says where."})

    def _told(self, path: str, body: bytes) -> dict[str, Any]:
        if path in self._gets:
            return self._gets[path]()
        sent = json.loads(body)
        if not isinstance(sent, dict):
            raise ValueError("the request must be an object.")
        return self._posts[path](sent)

    def _start(self) -> dict[str, Any]:
        subject = self.desk.subject
        families: list[dict[str, Any]] = [
            {"name": name, "parameters": [vars(slider) for slider in sliders]}
            for name, sliders in self.families.items()
        ]
        if self._file_psf is not None:
            families.insert(0, {"name": FILE, "title": self._file_name, "parameters": []})
        return {
            "name": subject.name,
            "size": list(subject.size[::-1]),
            "overview": subject.overview_uri,
            "largest_area": LARGEST_AREA,
            "families": families,
            "priors": list(PRIORS),
            "lights": list(LIGHTS),
            "light": self._light,
        }

    def _state(self) -> dict[str, Any]:
        return {"step": self.turns.step, "fraction": self.turns.fraction}

    def _cancel(self, sent: dict[str, Any]) -> dict[str, Any]:
        self.turns.cancel("preview")
        self.turns.cancel("save")
        return {}

    def _choice(self, sent: dict[str, Any]) -> Choice:
        has_file = self._file_psf is not None
        return parsed_choice(sent.get("choice"), self.families, has_file=has_file)

    def _psf(self, choice: Choice) -> Tensor:
        if choice.family == FILE:
            assert self._file_psf is not None
            return self._file_psf
        return FAMILIES[choice.family].kernel(*choice.numbers)

    def _preview(self, sent: dict[str, Any]) -> dict[str, Any]:
        choice = self._choice(sent)
        region = parsed_region(sent.get("region"), self.desk.subject.size)
        ticket, psf = self.turns.ticket("preview"), self._psf(choice)
        with ticket.turn():
            began = time.perf_counter()
            if sent.get("carefully") is True:
                made = self.desk.carefully(region, choice, psf, ticket.say)
            else:
                made = self.desk.at_once(region, choice, psf)
            return {
                "region": vars(region),
                "before": self._before(region, made.before),
                "after": self.desk.subject.picture_uri(made.after),
                "prior": made.prior,
                "strength": made.strength,
                "damp": made.damp,
                "said": list(made.said),
                "seconds": time.perf_counter() - began,
                "command": self.command.line(choice),
                "psf": self._drawn(psf),
            }

    def _before(self, region: Region, planes: Tensor) -> str:
        """The picture as it is, which is the same for every psf."""
        if region not in self._befores:
            self._befores = {region: self.desk.subject.picture_uri(planes)}
        return self._befores[region]

    def _drawn(self, psf: Tensor) -> dict[str, Any]:
        """A psf for the eye, its largest value 255."""
        largest = float(psf.abs().max()) or 1.0
        levels = (255 * psf.clamp(min=0) / largest).round().int()
        rows, columns = psf.shape
        return {"rows": rows, "columns": columns, "levels": levels.flatten().tolist()}

    def _evidence(self, sent: dict[str, Any]) -> dict[str, Any]:
        choice = self._choice(sent)
        along = parsed_place({"along": sent.get("along")}, choice)
        ticket = self.turns.ticket("evidence")
        slider = self.families[choice.family][along]

        def evidence_at(value: float) -> float:
            numbers = (*choice.numbers[:along], value, *choice.numbers[along + 1 :])
            with ticket.turn():
                reading = self.desk.reading(choice.light)
                return reading.evidence(self._psf(replace(choice, numbers=numbers)))

        curve = curve_along(slider, evidence_at)
        return {"along": along, "values": curve.values, "evidence": curve.evidence}

    def _estimate(self, sent: dict[str, Any]) -> dict[str, Any]:
        light, ticket = parsed_light(sent), self.turns.ticket("estimate")
        with ticket.turn():
            ticket.say("reading the psf from the picture")
            found = self.desk.reading(light).psf
        told = {"found": found.described, "doubts": list(found.doubts)}
        if found.family == NONE:
            return told | {"family": None, "numbers": []}
        pairs = zip(self.families[found.family], found.parameters.values(), strict=True)
        return told | {"family": found.family, "numbers": [s.nearest(v) for s, v in pairs]}

    def _save(self, sent: dict[str, Any]) -> dict[str, Any]:
        choice, ticket = self._choice(sent), self.turns.ticket("save")
        with ticket.turn():
            told = self.command.save(choice, ticket.say)
        return told | {"command": self.command.line(choice)}  # whose -o is the next free name


def _json(status: int, told: dict[str, Any]) -> Reply:
    return Reply(status, "application/json", json.dumps(told).encode())
