"""All commands in one place."""

from __future__ import annotations

from typing import Annotated

import typer

from .. import __version__
from . import (
    blur,
    deblur,
    demo,
    explore,
    inspect,
    inverse_kernel,
)
from .common import EXIT_CODES
from .psf import app as psf
from .volume import command as volume

app = typer.Typer(
    name="unconv",
    help="Undo convolutions: restore a blurred picture, exactly and with a certificate.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # which would take E[scene | y] for a style
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("deblur", epilog=EXIT_CODES)(deblur.deblur)
app.command("blur", epilog=EXIT_CODES)(blur.blur)
app.command("demo", epilog=EXIT_CODES)(demo.demo)
app.command("explore", epilog=EXIT_CODES)(explore.explore)
app.command("inspect", epilog=EXIT_CODES)(inspect.inspect)
app.command("inverse-kernel", epilog=EXIT_CODES)(inverse_kernel.inverse_kernel)
app.command("volume", epilog=EXIT_CODES)(volume.volume)
app.add_typer(psf.app, name="psf")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"unconv {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    """Options before the command's name."""
