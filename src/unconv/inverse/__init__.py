"""Factor A once, apply its inverse at the price of a few products, and certify the answer.

`plan` climbs the ladder, a rung's module factors, `certificate` says how well it went.
"""

from .certificate import Certificate
from .facts import AccuracyWarning
from .lstsq import LstsqResult, solve
from .operator import InverseOperator
from .plan import (
    Plan,
    factorize,
    make_plan,
    options_of,
    positive_damp,
)
from .request import Options

__all__ = [
    "AccuracyWarning",
    "Certificate",
    "InverseOperator",
    "LstsqResult",
    "Options",
    "Plan",
    "factorize",
    "make_plan",
    "options_of",
    "positive_damp",
    "solve",
]
