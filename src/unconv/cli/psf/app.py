"""The commands of `unconv psf` in one place."""

from __future__ import annotations

import typer

from ..common import EXIT_CODES
from . import points

app = typer.Typer(
    help="Find out what blurs: measure and estimate a point-spread function.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.command("points", epilog=EXIT_CODES)(points.points)
