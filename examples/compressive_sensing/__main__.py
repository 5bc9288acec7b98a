"""`python -m examples.compressive_sensing`."""

from .cli import app

app(prog_name="python -m examples.compressive_sensing")
