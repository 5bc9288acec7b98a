"""Random operators of every kind against a high-precision oracle: `make fuzz-answers`."""
