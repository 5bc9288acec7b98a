"""What a stranger does with the wheel alone: look around, solve, and call the command."""

import subprocess
import sys
from pathlib import Path

import torch

import unconv

COMMAND = Path(sys.executable).with_name("unconv")


def look_around():
    """The package is the installed one, typed, and all that it exports is there without extras."""
    home = Path(unconv.__file__).parent
    assert home.is_relative_to(sys.prefix), home
    assert (home / "py.typed").is_file()
    for name in unconv.__all__:
        getattr(unconv, name)


def solve():
    """x of least norm comes back from A x, and every condition of Penrose holds, to 1e-12."""
    torch.manual_seed(0)
    A = unconv.ConvOperator(torch.randn(3, 2, 3, 3, dtype=torch.float64), (16, 16), padding=1)
    pinv = A.pinv()
    x = pinv(torch.randn(1, *A.range_shape, dtype=torch.float64))
    assert (pinv(A(x)) - x).norm() <= 1e-12 * x.norm()
    errors = unconv.testing.penrose_errors(A, pinv)
    assert max(errors) <= 1e-12, errors


def call_the_command():
    """Without its extra the command says in one sentence what to install."""
    called = subprocess.run([COMMAND, "demo"], capture_output=True, text=True)
    assert called.returncode == 1
    assert called.stdout == ""
    assert called.stderr == "error: the command needs typer; pip install 'unconv[cli]'.\n"


look_around()
solve()
call_the_command()
print(f"the wheel of unconv {unconv.__version__} works without extras")
