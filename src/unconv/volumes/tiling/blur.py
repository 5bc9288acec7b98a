"""A and Aᵀ on a part of a scene, exactly, by FFTs of one grid.

A part of T samples an axis holds the rows 0 … T − k of A whole and no others (scene.py), so that
both maps are those of an operator without padding on the part.  On a periodic grid of T samples or
more nothing wraps onto them.

Cost: a pair of real FFTs of the grid a map.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class Blur:
    """A on parts of a scene that a grid holds.

    Parameters
    ----------
    psf : (*k), on the CPU
    sizes : of the grid, no axis less than that of a part
    dtype : float32 or float64, of what it is applied to

    Examples
    --------
    >>> import torch
    >>> A = Blur(torch.tensor([0.0, 1.0, 2.0]), (4,), torch.float64)
    >>> x = torch.tensor([1.0, 0, 0, 1], dtype=torch.float64)
    >>> [round(v, 6) + 0.0 for v in A(x).tolist()]
    [2.0, 0.0]
    """

    def __init__(self, psf: Tensor, sizes: Sequence[int], dtype: torch.dtype) -> None:
        self.k, self.sizes = tuple(psf.shape), tuple(sizes)
        self.axes = tuple(range(-psf.ndim, 0))
        self._transfer = transfer(psf, self.sizes).to(dtype.to_complex())

    def __call__(self, x: Tensor) -> Tensor:
        """A x of a part, (…, *T) -> (…, *(T − k + 1))."""
        return self._through(x, self._transfer, [1 - k for k in self.k])

    def H(self, y: Tensor) -> Tensor:
        """Aᵀ y, (…, *m) -> (…, *(m + k − 1))."""
        return self._through(y, self._transfer.conj(), [k - 1 for k in self.k])

    def _through(self, v: Tensor, by: Tensor, more: Sequence[int]) -> Tensor:
        spectrum = torch.fft.rfftn(v, s=self.sizes, dim=self.axes).mul_(by)
        found = torch.fft.irfftn(spectrum, s=self.sizes, dim=self.axes)
        lengths = v.shape[v.ndim - len(self.k) :]
        part: tuple[Any, ...] = (..., *(slice(n + m) for n, m in zip(lengths, more, strict=True)))
        return found[part]


def transfer(psf: Tensor, sizes: Sequence[int]) -> Tensor:
    """K̂ = conj(F taps) on a grid, half of the frequencies of the last axis; complex128."""
    taps = psf.double().flip([*range(psf.ndim)])
    return torch.fft.rfftn(taps, s=tuple(sizes)).conj().resolve_conj()
