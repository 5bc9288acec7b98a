"""The command `unconv`: restore, blur and demonstrate on real pictures."""

import sys

try:
    from .app import app
except ModuleNotFoundError as error:  # the library comes without the command's packages
    if error.name is None or error.name.startswith("unconv"):
        raise
    _missing: str | None = error.name
else:
    _missing = None


def main() -> None:
    """Entry point; says what to install when the command's own packages are missing."""
    if _missing is not None:
        sys.exit(f"error: the command needs {_missing}; pip install 'unconv[cli]'.")
    app()
