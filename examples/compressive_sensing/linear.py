"""The best linear restoration, which is where the network starts.

For pictures of mean 0 and covariance C, of which y = M x is known, no linear map has a smaller
expected error than

    x̂ = C Mᴴ (M C Mᴴ)⁻¹ y     (LMMSE, kriging, the mean of a Gaussian process),

and C joins the colours: a sample of green tells of red beside it.  C is that of stationary
pictures, a table of E[x_c(p) x_d(p + (i, j))], measured in photographs with their mean left in, so
that also the brightness is estimated, and the same for the eight symmetries of the square.

Cost: a Cholesky factorisation of as many rows as there are samples.  Not for whole photographs,
which are restored in tiles.

Source: Kay, "Fundamentals of Statistical Signal Processing: Estimation Theory" (1993), chapter 12.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .pictures import Named
from .sampling import check_measurements

_WINDOW = 96  # side of the windows of a periodogram; correlations reach no farther
_FLOOR = 3e-5  # share of the variance that is added to the diagonal, for float32 to factorise,
_RAISE = 10.0  # and so much more each time that it does not suffice


def covariance(pictures: Named, reach: int) -> Tensor:
    """The table (3, 3, reach, reach) of E[x_c(p) x_d(p + (i, j))], float32.

    The mean of the periodograms of windows that overlap by half, which is positive semidefinite,
    and therefore the table is, too.
    """
    window = min(_WINDOW, *(min(x.shape[1:]) for x in pictures.values()))
    size = 2 * max(window, reach)
    power, count = torch.zeros(3, 3, size, size, dtype=torch.complex128), 0
    for x in pictures.values():
        # (3, rows, columns, window, window)
        cut = x.double().unfold(1, window, (window + 1) // 2).unfold(2, window, (window + 1) // 2)
        spectra = torch.fft.fft2(cut.flatten(1, 2), s=(size, size))
        power += torch.einsum("cnij, dnij -> cdij", spectra.conj(), spectra)
        count += spectra.shape[1]
    table = torch.fft.ifft2(power).real / (count * window**2)
    table = (table + table.transpose(0, 1)) / 2
    for axis in (2, 3):  # i and −i, j and −j
        table = (table + table.flip(axis).roll(1, axis)) / 2
    return ((table + table.mT) / 2)[..., :reach, :reach].float().contiguous()


def lmmse(y: Tensor, mask: Tensor, table: Tensor) -> Tensor:
    """The best linear restoration of each picture; samples are kept.

    Parameters
    ----------
    y, mask : (N, 3, H, W), of sides that the table reaches
    table : (3, 3, reach, reach), of `covariance`
    """
    check_measurements(y, mask)
    reach = table.shape[-1]
    if max(y.shape[2:]) > reach:
        raise ValueError(
            f"the covariance reaches {reach} pixels, got a picture of {tuple(y.shape[2:])}; "
            "restore it in tiles, or measure a covariance that reaches farther."
        )
    C = _dense(table.to(y), *y.shape[2:])
    floor = float(_FLOOR * table[:, :, 0, 0].diagonal().mean()) or 1.0  # of black pictures
    x = torch.empty_like(y)
    for restored, sampled, known in zip(x, y, mask.flatten(1), strict=True):
        at = known.nonzero().squeeze(1)
        factor = _factorised(C[at][:, at], floor)
        weights = torch.cholesky_solve(sampled.flatten()[at, None], factor)
        restored.copy_((C[:, at] @ weights).view_as(restored))
    return torch.where(mask, y, x)


def _factorised(K: Tensor, floor: float) -> Tensor:
    """The Cholesky factor of K + floor·I, or of the next higher floor at which there is one."""
    factor, info = torch.linalg.cholesky_ex(K + floor * torch.eye(len(K)).to(K))
    return _factorised(K, _RAISE * floor) if info else factor


def _dense(table: Tensor, height: int, width: int) -> Tensor:
    """The covariance of all elements of a picture with each other, (3HW, 3HW)."""
    rows, columns = (
        (torch.arange(side)[:, None] - torch.arange(side)).abs() for side in (height, width)
    )
    C = table[:, :, rows[:, None, :, None], columns[None, :, None, :]]
    return C.permute(0, 2, 3, 1, 4, 5).reshape(3 * height * width, -1)
