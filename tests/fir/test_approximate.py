"""An inverse kernel in the place of A⁺."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from unconv import ConvOperator
from unconv.fir import approximate_pinv

from ..helpers import F64, randn, relative

# |F| between 3 and 7
STABLE = torch.tensor([[0.2, 0.5, 0.1], [0.7, 5.0, 0.1], [0.3, 0.0, 0.1]], dtype=F64)[None, None]


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("size", [5, (8, 9), 15])
def test_circular_error_is_the_residual(size, flip):
    A = ConvOperator(STABLE, (32, 30), padding=1, padding_mode="circular", flip=flip)
    G, error, g = approximate_pinv(A, size)
    assert error == pytest.approx(float(g.residual), rel=0.2)
    x = randn(2, 1, 32, 30)
    assert relative(G(A(x)), x) == pytest.approx(error, rel=0.2)
    assert relative(G(A(x)), A.pinv()(A(x))) == pytest.approx(error, rel=0.2)


def test_is_a_plain_convolution():
    A = ConvOperator(STABLE, (20, 20), padding=1)
    G, _, g = approximate_pinv(A, 9)
    y = randn(2, 1, 20, 20)
    assert relative(G(y), F.conv2d(y, g.weight, padding=4)) < 1e-14


@pytest.mark.parametrize("padding", [0, 1, (1, 0), ((0, 2), (1, 1))])
@pytest.mark.parametrize("flip", [False, True])
def test_inside_it_is_the_pseudo_inverse(padding, flip):
    weight = torch.cat([STABLE, randn(2, 1, 3, 3)])
    A = ConvOperator(weight, (48, 48), padding=padding, flip=flip)
    G, error, g = approximate_pinv(A, 9, delay="best")
    x = randn(1, 1, 48, 48)
    inside = (..., slice(9, -9), slice(9, -9))
    assert G.range_shape == A.domain_shape
    assert g.residual < 1e-10
    assert relative(G(A(x))[inside], x[inside]) < 1e-9
    assert error < 1


def test_right_inverse():
    A = ConvOperator(randn(1, 3, 3, 3), (40, 40), padding=1, padding_mode="circular")
    _, error, g = approximate_pinv(A, 6)
    assert g.side == "right"
    assert error < 1e-10


def test_larger_is_better_inside():
    A = ConvOperator(STABLE, (32, 32), padding=1, padding_mode="circular")
    errors = [approximate_pinv(A, s).error for s in (3, 7, 15)]
    assert errors[0] > 3 * errors[1] > 9 * errors[2]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"stride": 2}, "stride 1"),
        ({"dilation": 2}, "dilation 1"),
        ({"transposed": True}, "not transposed"),
        ({"padding": 2}, "larger size"),
    ],
)
def test_failures(options, says):
    A = ConvOperator(STABLE, (16, 16), **options)
    with pytest.raises(ValueError, match=says):
        approximate_pinv(A, 1)


def test_one_kernel_a_sample_is_refused():
    with pytest.raises(ValueError, match="one kernel"):
        approximate_pinv(ConvOperator(randn(2, 1, 1, 3, 3), (16, 16)), 3)
