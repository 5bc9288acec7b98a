"""`unconv explore`: see the restoration while choosing psf and prior."""

from __future__ import annotations

import errno
import os
import shlex
import sys
import threading
import webbrowser
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor

from ..explore.choice import FILE, Choice, Told
from ..explore.server import Server
from ..explore.site import Site
from ..explore.subject import Subject
from ..pictures import jpeg_rounding
from ..pictures import restoration as library
from ..pictures.formats import check_suitable, check_writable, read_picture
from ..psf.families import FAMILIES
from .common import (
    CODES,
    DEFAULT_MEMORY,
    MaxPixelsOption,
    MemoryOption,
    friendly,
    parse_memory,
    tell,
)
from .picture_options import LightOption, check_light, check_names
from .psf_option import BackgroundOption, CenterOption, parse_psf, prepared_psf
from .restoring import Wanted, restore_file


@friendly
def explore(
    picture: Annotated[Path, typer.Argument(help="PNG, JPEG, TIFF, NPY or FITS.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Where the page saves; of a name that is taken a new one is made. By default "
            "PICTURE-restored in this directory.",
        ),
    ] = None,
    psf: Annotated[
        str | None,
        typer.Option(help="A psf in a file, to choose beside those of the page."),
    ] = None,
    psf_background: BackgroundOption = "off",
    psf_center: CenterOption = False,
    light: LightOption = "auto",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Of the page; 0 for any that is free.")
    ] = 0,
    no_browser: Annotated[
        bool,
        typer.Option(
            "--no-browser",
            help="Only print the address. A browser that is started shows it, with the token that "
            "gives access, to others who can list the programs of this machine.",
        ),
    ] = False,
    memory_limit: MemoryOption = DEFAULT_MEMORY,
    max_pixels: MaxPixelsOption = 100_000_000,
) -> None:
    """Open a page on this machine that restores a picture while psf and prior are chosen.

    Before and after, the evidence of the picture for each size of the blur, the command to copy.

    The page is served on 127.0.0.1 alone, to whom its address was printed, until Ctrl-C.

    Example: unconv explore blurred.jpg
    """
    target = output or Path(f"{picture.stem}-restored{_lossless(picture.suffix)}")
    check_writable(target)
    inputs = {"picture": [picture], "psf": [Path(psf)] if psf else []}
    check_names({"-o": target}, inputs, force=False)
    source = read_picture(picture, max_pixels=max_pixels)
    check_suitable(target, source)
    planes = torch.from_numpy(source.planes)
    if not bool(planes.isfinite().any()):
        raise ValueError("the picture holds no finite pixel; check how it was read.")
    from_file, doubts = _psf_of_file(psf, psf_background, psf_center)
    wanted = _wanted(psf or "", from_file, check_light(light), memory_limit, max_pixels)
    command = _Command(picture, target, wanted, _psf_options(psf_background, psf_center))
    jpeg = jpeg_rounding(source.metadata, len(planes))
    subject = Subject(picture.name, planes, jpeg, source.dtype.kind == "u")
    name = "" if psf is None else Path(psf).name
    site = Site(subject, command, file_psf=from_file, file_name=name, light=light)
    tell(doubts)
    _serve(site, port, with_browser=not no_browser)


def _serve(site: Site, port: int, *, with_browser: bool) -> None:
    """Until Ctrl-C, which is how it ends and no failure."""
    try:
        server = Server(site, port)
    except OSError as error:
        why = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be had ({error})"
        raise ValueError(f"port {port} {why}; give another --port, or 0 for any.") from error
    typer.echo(f"{server.url}\nCtrl-C ends it.")
    if with_browser:
        threading.Thread(target=webbrowser.open, args=(server.url,), daemon=True).start()
    try:
        server.serve_forever()
    except KeyboardInterrupt as stop:
        typer.echo()
        terminated, ended = type(stop) is not KeyboardInterrupt, False
        with suppress(KeyboardInterrupt):  # a second time: at once
            ended = server.close()
        if ended and terminated:
            raise
        if ended:
            return
        # A thread inside torch cannot be ended, and the program would abort if it ended beside it.
        sys.stdout.flush()
        os._exit(CODES[type(stop)] if terminated else 0)


@dataclass(frozen=True)
class _Command:
    """`unconv deblur` for what the page chooses; see `explore.site.Command`.

    Attributes
    ----------
    picture, target : files; the latter is where to save, or what new names are made of
    wanted : the options that do not change, with the psf of a file where there is one
    psf_options : as they are typed
    """

    picture: Path
    target: Path
    wanted: Wanted
    psf_options: tuple[str, ...]

    def line(self, choice: Choice) -> str:
        """What to type."""
        is_file = choice.family == FILE
        words = ["unconv", "deblur", str(self.picture), "-o", str(_free(self.target))]
        words += ["--psf", self.wanted.psf_text if is_file else choice.psf_text]
        words += self.psf_options if is_file else ()
        words += ["--prior", choice.prior] if choice.prior != "auto" else []
        words += ["--strength", f"{choice.strength!r}"] if choice.strength is not None else []
        words += ["--damp", f"{choice.damp!r}"] if choice.damp is not None else []
        words += ["--light", choice.light] if choice.light != "auto" else []
        return shlex.join(words)

    def save(self, choice: Choice, say: Told) -> dict[str, Any]:
        """Restore the whole picture into a file that was not there."""
        is_file = choice.family == FILE
        text = self.wanted.psf_text if is_file else choice.psf_text
        wanted = replace(
            self.wanted,
            psf=self.wanted.psf if is_file else parse_psf(text),
            psf_text=text,
            prior=choice.prior,
            strength="auto" if choice.strength is None else choice.strength,
            damp=choice.damp,
            light=choice.light,
        )
        target = _free(self.target)
        outcome = restore_file(self.picture, target, None, wanted, say)
        return {"path": str(target), "said": [f"{s.removesuffix('.')}." for s in outcome.doubts]}


def _free(target: Path) -> Path:
    """The name, or the first of name-2, name-3, … that nothing has."""
    number = 2
    free = target
    while free.exists() or free.is_symlink():
        free = target.with_stem(f"{target.stem}-{number}")
        number += 1
    return free


def _lossless(suffix: str) -> str:
    return ".png" if suffix.lower() in (".jpg", ".jpeg") else suffix


def _wanted(
    psf_text: str, psf: Tensor | None, light: str, memory_limit: str, max_pixels: int
) -> Wanted:
    """What `deblur` takes by default, and what does not change."""
    return Wanted(
        psf=torch.ones(1, 1, dtype=torch.float64) if psf is None else psf,
        family=None,
        psf_text=psf_text,
        prior="auto",
        strength="auto",
        nonnegative=False,
        noise_model="gaussian",
        keep_partial=False,
        damp=None,
        noise_std=None,
        boundary="valid",
        light=light,
        saturation="auto",
        bad=None,
        mask=None,
        tol=library.TOL,
        memory_limit=parse_memory(memory_limit),
        max_pixels=max_pixels,
        force=False,
    )


def _psf_of_file(psf: str | None, background: str, center: bool) -> tuple[Tensor | None, list[str]]:
    """The psf, and what is doubtful about it; None without a file."""
    if psf is None:
        if background != "off" or center:
            raise ValueError("--psf-background and --psf-center need a --psf in a file.")
        return None, []
    if not Path(psf).is_file():
        raise ValueError(
            f"--psf {psf!r} must be a file; {', '.join(FAMILIES)} are chosen on the page."
        )
    return prepared_psf(psf, background, center=center)


def _psf_options(background: str, center: bool) -> tuple[str, ...]:
    return (
        *(("--psf-background", background) if background != "off" else ()),
        *(("--psf-center",) if center else ()),
    )
