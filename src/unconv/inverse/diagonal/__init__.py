"""Operators that are diagonal, or block-diagonal, in a basis that is known beforehand."""
