"""The command as a whole: version, help, and what it says without its own packages."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

pytest.importorskip("typer")

import unconv
from unconv import cli

from .commands import run


def test_version():
    result = run("--version")
    assert result.exit_code == 0
    assert result.stdout == f"unconv {unconv.__version__}\n"


def test_python_m_unconv():
    arguments = sys.executable, "-m", "unconv", "--version"
    found = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert found.stdout == f"unconv {unconv.__version__}\n"


@pytest.mark.parametrize("arguments", [["-h"], ["--help"], []])
def test_help_names_the_commands(arguments):
    result = run(*arguments)
    assert result.exit_code == (0 if arguments else 2)
    for part in ("blur", "deblur", "demo", "--version", "Exit codes"):
        assert part in result.output


@pytest.mark.parametrize(("command", "formula"), [("blur", "y = psf"), ("deblur", "argmin")])
def test_help_shows_the_formula_and_a_command(command, formula):
    result = run(command, "--help")
    assert result.exit_code == 0
    said = " ".join(result.stdout.split())
    assert formula in said
    assert f"Example: unconv {command} " in said


def test_unknown_command():
    result = run("sharpen")
    assert result.exit_code == 2
    assert "Traceback" not in result.output


def imported_without(monkeypatch, package: str):
    """The package of the command, imported anew where another one is missing."""
    for name in [n for n in sys.modules if n.startswith("unconv.cli")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(unconv, "cli", cli)  # put back in the end
    monkeypatch.setitem(sys.modules, package, None)
    return importlib.import_module("unconv.cli")


@pytest.mark.parametrize("package", ["typer", "rich.console"])
def test_main_without_its_packages(monkeypatch, package):
    found = imported_without(monkeypatch, package)
    with pytest.raises(SystemExit) as error:
        found.main()
    message = str(error.value.code)
    assert message.startswith("error: ")
    assert package in message
    assert "pip install 'unconv[cli]'" in message


def test_main_hides_no_mistake_of_its_own(monkeypatch):
    with pytest.raises(ModuleNotFoundError, match=r"unconv\.pictures\.formats"):
        imported_without(monkeypatch, "unconv.pictures.formats")


def test_main_runs_the_command(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["unconv", "--version"])
    with pytest.raises(SystemExit) as error:
        cli.main()
    assert not error.value.code
    assert capsys.readouterr().out.startswith("unconv ")


def test_help_shows_the_formula_whole():
    assert "x = E[scene | y]" in run("deblur", "--help").output
