"""A and Aᵀ on a box of a scene, as what is iterated on tiles applies them: exact on that box.

    y(i) = Σ_j taps(j) x(i + j),  0 ≤ j < k,        taps the psf turned round

Row i of A reads the samples i … i + k − 1 of the scene, so a box of T samples holds the rows
0 … T − k whole and no others: both maps are those of an operator without padding on the box.  On a
periodic grid of T samples or more nothing wraps onto them.

Cost: a pair of real FFTs a map, of a grid of the box's own size; K̂ is kept for the latest boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from ...grid.fft import fast_size

_KEPT = 32  # spectra: tiles of a volume have 27 shapes


class RegionBlur:
    """A on a box.

    Parameters
    ----------
    psf : (*k), on the CPU
    shape : of the box, T ≥ k an axis
    dtype : float32 or float64, of what it is applied to

    Examples
    --------
    >>> import torch
    >>> A = RegionBlur(torch.tensor([0.0, 1.0, 2.0]), (4,), torch.float64)
    >>> x = torch.tensor([1.0, 0, 0, 1], dtype=torch.float64)
    >>> [round(v, 6) + 0.0 for v in A(x[None, None])[0, 0].tolist()]
    [2.0, 0.0]
    """

    def __init__(self, psf: Tensor, shape: Sequence[int], dtype: torch.dtype) -> None:
        self.shape = tuple(shape)
        self.rows = tuple(n - k + 1 for n, k in zip(shape, psf.shape, strict=True))
        self.sizes = tuple(fast_size(n) for n in shape)
        taps = psf.double().contiguous()
        self.transfer = _transfer(taps.numpy().tobytes(), tuple(psf.shape), self.sizes, dtype)
        self.axes = tuple(range(-len(self.shape), 0))

    def __call__(self, x: Tensor) -> Tensor:
        """A x, (N, C, *T) -> (N, C, *(T − k + 1))."""
        return self._cut(self._through(x, self.transfer), self.rows)

    def H(self, y: Tensor) -> Tensor:
        """Aᵀ y, (N, C, *(T − k + 1)) -> (N, C, *T)."""
        return self._cut(self._through(y, self.transfer.conj()), self.shape)

    @staticmethod
    def _cut(grid: Tensor, sizes: Sequence[int]) -> Tensor:
        box: tuple[Any, ...] = (..., *(slice(0, n) for n in sizes))
        return grid[box]

    def _through(self, x: Tensor, transfer: Tensor) -> Tensor:
        spectrum = torch.fft.rfftn(x, s=self.sizes, dim=self.axes)
        return torch.fft.irfftn(spectrum.mul_(transfer), s=self.sizes, dim=self.axes)


@lru_cache(_KEPT)
def _transfer(
    taps: bytes, k: tuple[int, ...], sizes: tuple[int, ...], dtype: torch.dtype
) -> Tensor:
    """K̂ = conj(F taps) on a grid."""
    turned = torch.frombuffer(bytearray(taps), dtype=torch.float64).view(k).flip([*range(len(k))])
    return torch.fft.rfftn(turned, s=sizes).conj().resolve_conj().to(dtype.to_complex())
