"""Coloured noise where outputs are missing: the estimate is that of a dense Gaussian model."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import unconv

GRID = (16, 18)


def psd(slope: float) -> Tensor:
    """A spectrum on GRID that falls with frequency."""
    axes = [torch.fft.fftfreq(n, dtype=torch.float64) for n in GRID]
    f = torch.stack(torch.meshgrid(*axes, indexing="ij")).norm(dim=0)
    return 0.1 + torch.exp(-((slope * f) ** 2))


def covariance(power: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Between the samples of GRID where two masks are True."""
    correlation = torch.fft.ifft2(power).real
    i, j = (m.flatten().nonzero()[:, 0] for m in (rows, columns))
    apart = [
        (a[:, None] - b) % n
        for a, b, n in zip(
            (i // GRID[1], i % GRID[1]), (j // GRID[1], j % GRID[1]), GRID, strict=True
        )
    ]
    return correlation[apart[0], apart[1]]


def part(mask: Tensor) -> Tensor:
    """True on GRID where a mask of its first part is."""
    out = torch.zeros(GRID, dtype=torch.bool)
    out[: mask.shape[0], : mask.shape[1]] = mask
    return out


@pytest.mark.parametrize("holes", [False, True])
def test_estimate_is_that_of_the_dense_model(holes: bool) -> None:
    torch.manual_seed(0)
    plain = unconv.ConvOperator(torch.rand(1, 1, 3, 4).double(), (12, 13))
    m = plain.range_shape[1:]
    seen = torch.rand(m) > 0.1 if holes else torch.ones(m, dtype=torch.bool)
    A = plain.observed(seen) if holes else plain
    y = torch.randn(1, 1, *m, dtype=torch.float64)
    noise, signal = psd(3.0), psd(9.0)
    W = A.wiener(noise, signal, tol=1e-10)

    M = plain.to_dense().reshape(seen.numel(), -1)[seen.flatten()]
    domain, outputs = part(torch.ones(A.domain_shape[1:], dtype=torch.bool)), part(seen)
    S, N = covariance(signal, domain, domain), covariance(noise, outputs, outputs)
    expected = S @ M.T @ torch.linalg.solve(M @ S @ M.T + N, y[..., seen].flatten())
    x, effort = W.solution(y)
    assert W.method == "completion"
    torch.testing.assert_close(x.flatten(), expected, rtol=1e-8, atol=1e-8)
    assert effort.residual is not None
    torch.testing.assert_close(effort.residual[..., seen], (y - A(x))[..., seen])


def test_colours_apart_and_correlated() -> None:
    """Two channels under one noise spectrum each, beside the same solved channel by channel."""
    torch.manual_seed(0)
    K = torch.rand(2, 1, 3, 3).double()
    both = unconv.ConvOperator(K, (12, 13), groups=2)
    noise, signal = torch.stack([psd(3.0), 2 * psd(1.0)]), psd(9.0)
    y = torch.randn(1, *both.range_shape, dtype=torch.float64)
    options = {"tol": 1e-10}
    x = both.wiener(noise, signal, **options)(y)
    covariance = torch.eye(2, dtype=torch.float64)
    coupled = both.wiener(noise, signal, channel_covariance=covariance, **options)(y)
    for c in range(2):
        one = unconv.ConvOperator(K[c : c + 1], (12, 13))
        alone = one.wiener(noise[c], signal, **options)(y[:, c : c + 1])
        torch.testing.assert_close(x[:, c : c + 1], alone, rtol=1e-7, atol=1e-8)
    torch.testing.assert_close(coupled, x, rtol=1e-7, atol=1e-8)


def test_grids_that_do_not_fit_are_refused() -> None:
    A = unconv.ConvOperator(torch.rand(1, 1, 3, 3).double(), (12, 13))
    with pytest.raises(ValueError, match="as large as the domain"):
        A.wiener(torch.ones(A.range_shape[1:]), 1.0)
    with pytest.raises(ValueError, match="on one grid"):
        A.wiener(torch.ones(14, 15), torch.ones(16, 18))


def test_its_spectra_have_no_gradient() -> None:
    A = unconv.ConvOperator(torch.rand(1, 1, 3, 3).double(), (12, 13))
    y = torch.randn(1, *A.range_shape, dtype=torch.float64, requires_grad=True)
    W = A.wiener(psd(3.0), psd(9.0))
    W(y).sum().backward()  # the data have one
    noise = psd(3.0).requires_grad_()
    with pytest.raises(NotImplementedError, match="not differentiable in its spectra"):
        A.wiener(noise, psd(9.0))(y.detach()).sum().backward()
