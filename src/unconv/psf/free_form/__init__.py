"""Psfs of any form: from a pair of pictures, and from one."""

from .pair import PairPsf, from_pair

__all__ = ["PairPsf", "from_pair"]
