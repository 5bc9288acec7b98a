"""All commands of `unconv psf` in one place."""

from __future__ import annotations

import typer

from ..common import EXIT_CODES
from . import blind, check, estimate, make, match, points

app = typer.Typer(
    name="psf",
    help="Point-spread functions: measure, estimate, look at or make one, or match two.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.command("points", epilog=EXIT_CODES)(points.points)
app.command("check", epilog=EXIT_CODES)(check.check)
app.command("estimate", epilog=EXIT_CODES)(estimate.estimate)
app.command("blind", epilog=EXIT_CODES)(blind.blind)
app.command("match", epilog=EXIT_CODES)(match.match)
app.add_typer(make.app, name="make")
