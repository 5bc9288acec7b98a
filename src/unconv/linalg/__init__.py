"""Linear algebra whose derivatives survive repeated singular values.

`svd` and `svdvals` stand in for those of torch.linalg.  For functions of a matrix, U f(S) Vᴴ, use
`spectral_apply`, `svt` and `pinv`: they are differentiable where U and V are not.
`detect_gauge_dependence` finds losses on the factors that have no gradient at a tie.
"""

from .gauge import detect_gauge_dependence
from .spectral import pinv, spectral_apply, svt
from .svd import svd, svdvals

__all__ = ["detect_gauge_dependence", "pinv", "spectral_apply", "svd", "svdvals", "svt"]
