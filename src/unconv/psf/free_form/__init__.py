"""Psfs of any form: from a pair of pictures, and from one."""

from .one_picture import blind
from .pair import PairPsf, from_pair

__all__ = ["PairPsf", "blind", "from_pair"]
