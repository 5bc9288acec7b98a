"""The command `unconv`: restore, blur and demonstrate on real pictures."""

import sys


def main() -> None:
    """Entry point; says what to install when the command's own packages are missing."""
    try:
        from .app import app
    except ModuleNotFoundError as missing:
        if missing.name is not None and missing.name.startswith("unconv"):
            raise
        sys.exit(f"error: the command needs {missing.name}; pip install 'unconv[cli]'.")
    app()
