"""Norm, singular values, condition and determinant as functions of the weight."""
