"""The quadratic prior: N, its inverse on tiles, passes, and the proof of their error."""
