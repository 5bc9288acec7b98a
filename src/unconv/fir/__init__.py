"""FIR inverse filters: the kernel g of a given size that best undoes a kernel f.

    min over g of  ‖f ∗ g − δ_d‖² + damp²‖g‖²        f ∗ g the full convolution, d the delay

g ↦ f ∗ g is itself a convolution, with padding 'full' on the domain of g (problem.py).  So g is
A⁺δ_d, and the direct methods of `unconv.inverse` find it exactly: no gradient descent.  A factor
knows nothing of d and serves all delays (delays.py).

At every optimum  ‖f ∗ g − δ_d‖² + damp²‖g‖² = 1 − (f ∗ g)[d],  for f ∗ g without damping is the
projection of δ_d onto the range of A (with c channels: c − tr (f ∗ g)[d]).

Whether the error can be made small is decided by F(ω), the response of f (zeros.py).  Where F
vanishes there is no stable inverse, and the residual falls like a small power of the size only.
Where it does not, the residual falls exponentially.  With enough channels, generically
c_out ≥ c_in + dimensions, some g of finite size is exact (search.py).

Cost: that of one `ConvOperator.pinv` of `padding='full'`; 201 × 201 taps take about a second.
Do not use it to restore one picture, for which `ConvOperator.lstsq` is exact at the boundary too;
g serves where a fixed, small, shift-invariant filter is wanted.

Sources: Robinson & Treitel, "Geophysical Signal Analysis", 1980, ch. 6-7, for the least-squares
(Wiener-Levinson) inverse and its delay; Harikumar & Bresler, "FIR perfect signal reconstruction
from multiple convolutions", IEEE Trans. CAS II 45 (1998), for several channels.
"""

from .approximate import ApproximatePinv, approximate_pinv
from .best_inverse import inverse_kernel
from .delays import errors_by_delay
from .exact import ExactInverse
from .matching import MatchingKernel, matching_kernel
from .matching_search import matching_damp, smallest_matching_kernel
from .records import InverseKernel
from .search import residuals_by_size, smallest_inverse
from .tail import decay

__all__ = [
    "ApproximatePinv",
    "ExactInverse",
    "InverseKernel",
    "MatchingKernel",
    "approximate_pinv",
    "decay",
    "errors_by_delay",
    "inverse_kernel",
    "matching_damp",
    "matching_kernel",
    "residuals_by_size",
    "smallest_inverse",
    "smallest_matching_kernel",
]
