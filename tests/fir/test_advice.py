"""What is said of the zeros, and that it is so."""

from __future__ import annotations

import math

import pytest
import torch

from unconv.fir import inverse_kernel

from ..helpers import C128, F64, randn

PLUS = torch.tensor([[0, 1, 0], [1, 1, 1], [0, 1, 0]], dtype=F64)


def test_plus_kernel():
    g = inverse_kernel(PLUS, 5)
    assert g.transfer.minimum < 1e-12
    for u, v in g.transfer.zeros:
        assert 1 + 2 * math.cos(2 * math.pi * u) + 2 * math.cos(2 * math.pi * v) == pytest.approx(
            0, abs=1e-7
        )
    assert "no stable inverse exists" in g.advice[0]
    assert g.advice[1] == "The residual falls like size^(-0.5) at best."
    assert "48.7 %" in g.advice[2]


@pytest.mark.parametrize(
    ("f", "codim"),
    [
        (torch.tensor([1.0, 1.0]), 1),
        (PLUS, 1),
        (torch.tensor([[1.0, 1.0], [1.0, 0.0]]), 2),
        (torch.tensor([[1.0, 2.0], [1.0, 2.0]]), 1),  # a line, and no symmetry
        (torch.tensor([[1.0, 1.0], [1.0, 0.0]], dtype=C128) * (1 + 2j), 2),
        (torch.tensor([[1.0, 2.0, 1.0]]), 2),  # a double line: its slopes tell nothing
        (torch.eye(2)[..., None, None] * PLUS, 1),
    ],
)
def test_power(f, codim):
    advice = inverse_kernel(f.to(torch.promote_types(f.dtype, F64)), (2, 2)[: f.ndim]).advice
    assert advice[1] == f"The residual falls like size^(-{codim / 2:g}) at best."


def test_no_zero():
    g = inverse_kernel(torch.tensor([1.0, 4.0, 1.0], dtype=F64), 5)
    assert g.transfer.minimum == pytest.approx(2)
    assert g.advice[0].startswith("|F(ω)| is at least 2, at 0.5 cycles per sample: a stable")
    assert "exponentially" in g.advice[0]


def test_several_channels():
    f = randn(3, 1, 3, 3)
    short, exact = inverse_kernel(f, 2), inverse_kernel(f, 4)
    assert "see smallest_inverse" in short.advice[1]
    assert "exact to round-off" in exact.advice[1]
    common = torch.nn.functional.conv2d(f, PLUS[None, None], padding=2)  # one zero set for all
    assert "loses rank" in inverse_kernel(common, 5).advice[0]


def test_zero_of_a_complex_kernel_is_not_its_mirror_image():
    f = torch.tensor([1.0, 0.3 - 0.2j, 0.0], dtype=C128)
    f[2] = f[0] - 1j * f[1]  # a zero at −1/4, where e^{2πiω} = −i
    transfer = inverse_kernel(f, 4).transfer
    assert transfer.zeros == (transfer.at,) == ((-0.25,),)


@pytest.mark.parametrize("size", [5, 31, 101])
def test_a_kernel_is_printed_in_ten_lines_without_its_taps(size):
    f = torch.tensor([1.0, 0.5, 0.2], dtype=torch.float64)
    found = inverse_kernel(f, size)
    lines = repr(found).splitlines()
    assert len(lines) == 10
    assert lines[0] == f"InverseKernel g of 1 × 1 × {size}, torch.float64"
    assert f"{float(found.residual):.4g}" in repr(found)
    assert f"{float(found.noise_gain):.4g}" in repr(found)
