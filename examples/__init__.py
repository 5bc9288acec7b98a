"""Programs that the documentation shows; run them from a checkout: `python -m examples.NAME`."""
