"""Deblurring by an unrolled network: exact Tikhonov solves between small learnt denoisers.

`python -m examples.unrolled_deblurring --help` tells the options; a run trains the network on
patches of photographs that scikit-image installs, restores photographs that it never saw, and draws
them beside plain Tikhonov at its best damp.
"""
