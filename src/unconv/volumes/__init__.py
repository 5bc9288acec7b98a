"""Volumes larger than memory: restored tile by tile, with an error proven for the whole."""
