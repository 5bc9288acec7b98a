"""Factor A once, apply its inverse at the price of a few products, and certify the answer.

`plan` climbs the ladder, a rung's module factors, `certificate` says how well it went.
"""

from .base import AccuracyWarning, InverseOperator, Options
from .certificate import Certificate
from .plan import Plan, factorize, make_plan, options_of, positive_damp
from .solve import LstsqResult, solve

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
