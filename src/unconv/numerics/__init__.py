"""Tensors only: checks, precision, memory, iterations, transforms; nothing of a convolution."""
