"""Operators that are circulant but for strips at the boundary: one dense system on the strips."""
