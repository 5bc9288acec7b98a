"""`python -m examples.dynamic_mri`."""

from .cli import app

if __name__ == "__main__":  # not in the processes that `table` spawns
    app(prog_name="python -m examples.dynamic_mri")
