"""A psf by marginal likelihood: the scene, a mixture of Gaussians of all scales, is integrated out.

The differences of a scene, ∇x by rows and by columns, are normal at every pixel q with a variance
γ(q) of its own, which both share; those of the blurred picture are theirs, blurred, with noise:

    y_d = h ∗ x_d + n,   x_d(q) ~ N(0, γ(q)),   n ~ N(0, λ),   λ = 2σ²,   d = rows, columns

A large γ is an edge, a small one an even place.  A most probable pair (x, h) is the trivial one,
the picture as it is and no blur; the h of greatest probability, whatever x, is not.  The posterior
of x for given h and γ is taken to be normal with a diagonal covariance c (variational Bayes):

    m_d = argmin ‖h ∗ x_d − y_d‖²/λ + Σ x_d²/γ          by steps of conjugate gradients     (1)
    c   = 1/(Σ_s h(s)²/λ + 1/γ)                                                             (2)
    γ   = ½ Σ_d (m_d² + c)                                                                  (3)
    h   = argmin E Σ_d ‖h ∗ x_d − y_d‖²   over  h ≥ 0, Σ h = 1                              (4)

where the expectation adds Σ c to the diagonal of the normal equations of `patch_equations.py`: a
psf pays for what it leaves unknown of the scene.  (1) is warm from turn to turn.

The noise of differences is not white, and is taken to be.  Needs a start, `few_edges.py`.

Cost: a turn is some 100 FFTs of the picture and 4·N·k³ operations.
Not for: scenes that are not mostly even places between edges.

Source: Fergus, Singh, Hertzmann, Roweis & Freeman, ACM Trans. Graph. 25 (2006) 787; Levin, Weiss,
Durand & Freeman, "Efficient marginal likelihood optimization in blind deconvolution", CVPR 2011;
Wipf & Zhang, "Revisiting Bayesian blind deconvolution", J. Mach. Learn. Res. 15 (2014) 3775.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad

from ...grid.fft import fast_size
from .few_edges import centered, least_on_simplex
from .patch_equations import normal_equations

_LIKELIER_TURNS = 12
_STEPS_OF_MEAN = 12  # of conjugate gradients, a turn
_FIRST_TURNS = 4  # of (1) to (3), before a psf is asked for
_USUAL_VARIANCE = 0.1  # of the mean square of y: added to y² where γ starts
_QUIETEST = 1e-4  # λ, of the mean square of y


def likeliest_psf(
    y: Tensor,
    seen: Tensor,
    start: Tensor,
    noise_std: float,
    say: Callable[[float], object] = lambda done: None,
) -> Tensor:
    """The psf (k, k), centred, after the turns that begin at another.

    Parameters
    ----------
    y : (2, H, W) differences of the picture
    seen : (H, W) bool
    start : (k, k), in the simplex
    noise_std : σ, of a pixel of the picture
    say : called with the part of the turns that is done
    """
    turn = _Turn(y, seen, start, noise_std)
    for _ in range(_FIRST_TURNS - 1):
        turn.look_at_scene()
    for number in range(_LIKELIER_TURNS):
        say(number / _LIKELIER_TURNS)
        turn.look_at_scene()
        turn.look_at_psf()
    return centered(turn.h)


class _Turn:
    """What changes from turn to turn.

    Attributes
    ----------
    h : the psf, (k, k)
    x : (2, *grid) m of the module; the scene begins k − 1 samples before what y shows
    c, variance : c and γ, (*grid)
    """

    def __init__(self, y: Tensor, seen: Tensor, h: Tensor, noise_std: float) -> None:
        self.h, k = h, len(h)
        self._weight = seen.to(y)
        self._y = y * self._weight
        mean = float(self._y.square().sum() / (2 * self._weight.sum()))
        self._noise = max(2 * noise_std**2, _QUIETEST * mean)
        self._scene = y.shape[1] + k - 1, y.shape[2] + k - 1
        self._grid = fast_size(self._scene[0]), fast_size(self._scene[1])
        r, (rows, columns) = k // 2, (n - s for n, s in zip(self._grid, y.shape[1:], strict=True))
        self.x = pad(self._y, (r, columns - r, r, rows - r))
        self.variance = self.x.square().mean(0) + _USUAL_VARIANCE * mean
        self.c = torch.zeros_like(self.variance)

    def look_at_scene(self) -> None:
        """(1), (2) and (3)."""
        H = torch.fft.rfft2(self.h, s=self._grid)
        power = torch.fft.rfft2(self.h.square(), s=self._grid)
        prior = self._noise / self.variance
        diagonal = self._back(self._weight, power).clamp(min=0) + prior
        r = self._back(self._y, H) - self._normal(self.x, H, prior)
        z = r / diagonal
        p, rz = z, _dot(r, z)
        for _ in range(_STEPS_OF_MEAN):
            q = self._normal(p, H, prior)
            step = rz / _dot(p, q).clamp(min=1e-300)
            self.x, r = self.x + step * p, r - step * q
            z = r / diagonal
            rz, last = _dot(r, z), rz
            p = z + rz / last.clamp(min=1e-300) * p
        self.c = self._noise / diagonal
        self.variance = self.x.square().mean(0) + self.c

    def look_at_psf(self) -> None:
        """(4)."""
        k, (rows, columns) = len(self.h), self._scene
        G = torch.zeros(k**2, k**2, dtype=self.x.dtype)
        b = torch.zeros(k**2, dtype=self.x.dtype)
        for x, y in zip(self.x, self._y, strict=True):
            each = normal_equations(x[:rows, :columns], y, self._weight, (k, k))
            G, b = G + each.G, b + each.b
        W, C = torch.fft.rfft2(self._weight, s=self._grid), torch.fft.rfft2(self.c)
        unknown = torch.fft.irfft2(W.conj() * C, s=self._grid)[:k, :k]
        self.h = least_on_simplex(G + 2 * unknown.clamp(min=0).flatten().diag(), b)

    def _normal(self, x: Tensor, H: Tensor, prior: Tensor) -> Tensor:
        """(AᵀWA + λ/γ) x, A the convolution with h where it sees the scene alone."""
        k, (rows, columns) = len(self.h), self._y.shape[1:]
        Ax = torch.fft.irfft2(H * torch.fft.rfft2(x), s=self._grid)
        seen = Ax[:, k - 1 : k - 1 + rows, k - 1 : k - 1 + columns] * self._weight
        return self._back(seen, H) + prior * x

    def _back(self, y: Tensor, H: Tensor) -> Tensor:
        """Aᵀ y, (…, *grid)."""
        k, n = len(self.h), y.shape
        room = (k - 1, self._grid[1] - n[-1] - k + 1, k - 1, self._grid[0] - n[-2] - k + 1)
        return torch.fft.irfft2(H.conj() * torch.fft.rfft2(pad(y, room)), s=self._grid)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """The inner product of each difference, (2, 1, 1)."""
    return (a * b).sum((-2, -1), keepdim=True)
