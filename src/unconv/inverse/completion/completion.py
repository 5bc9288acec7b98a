"""The estimate from data of which some were never seen, by completing them.

On a periodic grid complete data have the precision q and the estimate e per frequency
(precision.py).  Of z + q∗u the part on the missing outputs is made to vanish, u living there alone:

    (G q Gᴴ) u = −G z,                       G: the missing outputs, P: those that were seen

    z = q∗y     u is the conditional mean of the missing outputs, e∗[y; u] the estimate of x
    z = eᴴ∗x    P(z + q∗u) is the adjoint of that map

G q Gᴴ is Hermitian positive definite.  Conjugate gradients take one pair of FFTs a step, in single
precision, for half of the price; what is left is computed in double precision and solved for again.
The preconditioner (preconditioner.py) keeps their number from growing with the picture.

Proof.  With r = G(z + q∗u), what is left for any u, and the signal's spectrum S

    ‖S^-½ δx‖² ≤ ⟨r, v r⟩ = ε²,        ‖δ P(z + q∗u)‖ ≤ ε/s,      s² = min N,

since q∗δu, with G q δu = r, has the energy ⟨δu, G q δu⟩ = ⟨r, (G q Gᴴ)⁻¹ r⟩ ≤ ⟨r, G v Gᴴ r⟩.  That
costs one pair of FFTs.  A residual proves less: relative to it the error may be larger by
(σ_max/s)².

Source: the conditional mean of a Gaussian process, Rasmussen & Williams, "Gaussian Processes for
Machine Learning", MIT Press 2006, §2.2 and A.2.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...numerics.progress import Watch
from .conjugate_gradients import inner
from .precision import Precision
from .rounds import Completed, Data, Rounds, norm

_EPS = torch.finfo(torch.float64).eps
_VANISHES = 16 * _EPS  # round-off, of the largest answer that data may have
_NEXT_TO_NOTHING = 1e3 * _VANISHES  # of it: an answer that is no larger is that of orthogonal data


class Completion(Rounds[Precision]):
    """The missing outputs of one operator, with the proof above.

    Images of outputs on the grid are (N, c_out, *coarse), those of the domain (N, c_in, *fine).
    """

    def estimate(
        self, y: Tensor, tol: float, maxiter: int, watch: Watch | None
    ) -> tuple[Tensor, Completed]:
        """x on the fine grid for a contiguous y, zero where nothing was seen and completed there.

        ε is held against ‖S^-½x‖.
        """
        p, size = self.precision, norm(y)
        found = self._settle(Data(None, y, size, size / p.std), tol, maxiter, watch)
        return p.estimated(p.torus.transform(self.put_(y, found.u))), found

    def adjoint(self, x: Tensor, tol: float, maxiter: int, watch: Watch | None) -> Completed:
        """`w` is the adjoint of `estimate` for x on the fine grid; ε is held against s·‖w‖."""
        z = self.precision.estimated_adjoint(x).contiguous()
        data = Data(z, None, norm(z) / self.precision.rms_q, norm(x))
        return self._settle(data, tol, maxiter, watch)

    def _judged(self, data: Data, u: Tensor | None) -> Completed:
        """w, what is left, and ε, from q itself and not from a recurrence; u = 0 if None."""
        p, y, w = self.precision, data.y, self._residual(data, u)
        left = self.on_missing(w)
        self.put_(w, torch.zeros_like(left))
        u = torch.zeros_like(left) if u is None else u
        error = p.energy(self.put_(torch.zeros_like(w), left)).sqrt()
        error = torch.hypot(error, self._round_off(data, u, w))
        if y is None:
            size = p.std * norm(w)
        else:  # ‖S^-½x‖² = ⟨w, y⟩ − ‖N^½w‖²
            size = (inner(w, y) - inner(w, p.of_noise(w))).clamp(min=0).sqrt()
        steps = torch.zeros_like(error, dtype=torch.long)
        vanishes = error <= _VANISHES * data.largest
        vanishes &= size <= _NEXT_TO_NOTHING * data.largest
        return Completed(u, w, left, error, size, vanishes, steps)

    def _residual(self, data: Data, u: Tensor | None) -> Tensor:
        """z + q∗u; data y are completed by u, so that it is q∗y without another image."""
        p, z, y = self.precision, data.z, data.y
        if y is not None:
            return p.times_q(y if u is None else self.put_(y, u)).contiguous()
        assert z is not None
        if u is None:
            return z.clone()
        return p.times_q(self.put_(torch.zeros_like(z), u)).add_(z).contiguous()

    def _round_off(self, data: Data, u: Tensor, w: Tensor) -> Tensor:
        """What ε may be of the rounding of r, which is white: of transforms there and back."""
        p = self.precision
        complete = torch.hypot(norm(u), data.given)
        return _EPS * p.rms_of_v * (p.rms_q * complete + norm(w))
