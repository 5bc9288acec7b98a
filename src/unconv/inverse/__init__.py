"""Factor A once, apply its inverse at the price of a few products, and certify the answer.

`plan` climbs the ladder, a rung's module factors, `certificate` says how well it went.
"""

from .certificate import Certificate
from .facts import AccuracyWarning, Plan
from .lstsq import LstsqResult, solve
from .operator import InverseOperator
from .plan import (
    factorize,
    make_plan,
    positive_damp,
    request_of,
)
from .request import Request

__all__ = [
    "AccuracyWarning",
    "Certificate",
    "InverseOperator",
    "LstsqResult",
    "Plan",
    "Request",
    "factorize",
    "make_plan",
    "positive_damp",
    "request_of",
    "solve",
]
