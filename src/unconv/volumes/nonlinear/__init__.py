"""Counts and priors that are not quadratic, on tiles; no error is proven."""
