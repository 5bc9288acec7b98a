"""One-call regularised inverses are those of the operator."""

from __future__ import annotations

import pytest
import torch

import unconv
from unconv import ConvOperator, regularize

from ..helpers import assert_says, data, randn, relative

OPTIONS = [
    ((3, 2, 3), (9,), {"padding": 1}),
    ((2, 2, 3, 3), (8, 9), {"padding": 1, "padding_mode": "circular"}),
    ((2, 1, 3, 3), (9, 9), {"padding": 1, "stride": 2, "groups": 2}),
    ((1, 1, 2, 3, 2), (4, 5, 4), {}),
]


@pytest.mark.parametrize(("shape", "size", "options"), OPTIONS)
def test_each_is_the_method_of_that_name(shape, size, options):
    weight = randn(*shape)
    op = ConvOperator(weight, size, **options)
    y = data(op.range_shape, op)
    options = options | {"input_shape": size}
    assert relative(unconv.tikhonov(y, weight, 0.3, **options), op.tikhonov(0.3)(y)) < 1e-12
    smooth = unconv.tikhonov(y, weight, 0.3, penalty="gradient", **options)
    assert relative(smooth, op.tikhonov(0.3, penalty="gradient")(y)) < 1e-6
    assert relative(unconv.wiener(y, weight, 0.1, 2.0, **options), op.wiener(0.1, 2.0)(y)) < 1e-9
    assert relative(unconv.tsvd(y, weight, 1e-6, **options), op.tsvd(1e-6)(y)) < 1e-12
    gain = regularize.showalter(3.0)
    assert relative(unconv.filtered(y, weight, gain, **options), op.filtered(gain)(y)) < 1e-12
    found, expected = unconv.lstsq(y, weight, 0.3, **options), op.lstsq(y, 0.3)
    assert relative(found.solution, expected.solution) < 1e-12
    assert found.certificate.method == expected.certificate.method


def test_the_size_of_x_has_a_default_and_dtypes_promote():
    y, weight = randn(2, 3, 8, 8), randn(3, 3, 3, 3).float()
    for x in (
        unconv.tikhonov(y, weight, 0.1, padding=1),
        unconv.tsvd(y, weight, 1e-6, padding=1, padding_mode="circular"),
        unconv.wiener(y, weight, 0.1, 1.0, padding=1, padding_mode="circular"),
        unconv.filtered(
            y, weight, regularize.landweber(3, 0.01), padding=1, padding_mode="circular"
        ),
        unconv.lstsq(y, weight, padding=1, padding_mode="circular").solution,
    ):
        assert x.shape == y.shape
        assert x.dtype == torch.float64


def test_options_reach_the_solver():
    y, weight = randn(1, 1, 40), randn(1, 1, 5)
    with pytest.raises(unconv.MemoryLimitError, match="memory_limit=8 B"):
        unconv.tikhonov(y, weight, 0.1, memory_limit=8)
    with pytest.raises(ValueError, match="'guess' is not known"):
        unconv.wiener(y, weight, 0.1, 1.0, method="guess")
    assert unconv.lstsq(y, weight, 0.1, method="krylov").certificate.method == "krylov"
    assert not unconv.conv1d_pinv(y, weight, atol=1e9).any()
    y[0, 0, 3] = torch.nan
    with pytest.raises(ValueError, match="NaN"):
        unconv.tsvd(y, weight, 1e-6)
    assert unconv.tsvd(y, weight, 1e-6, check_finite=False).isnan().any()


def test_bad_input():
    with pytest.raises(ValueError, match="f\\(0\\) = 0"):
        unconv.filtered(randn(1, 1, 8), torch.zeros(1, 1, 3).double(), torch.exp)
    with pytest.raises(TypeError, match="gain must be a function"):
        unconv.filtered(randn(1, 1, 8), randn(1, 1, 3), 0.5)
    with pytest.raises(ValueError, match="expected a tensor of shape"):
        unconv.lstsq(randn(1, 2, 8), randn(1, 1, 3))
    with pytest.raises(ValueError, match="damp=0"):
        unconv.tikhonov(randn(1, 1, 8), randn(1, 1, 3), 0.0)
    with pytest.raises(ValueError, match="y has shape") as error:
        unconv.wiener(randn(8, 8), randn(1, 1, 3, 3), 0.1, 1.0)
    assert_says(error, "y[None]")
    with pytest.raises(TypeError, match="y must be"):
        unconv.tsvd([1.0], randn(1, 1, 3), 0.1)


def test_data_that_were_seen_in_part():
    weight = randn(2, 2, 3, 3)
    op = ConvOperator(weight, (8, 9))
    y = data(op.range_shape, op)
    seen = torch.rand(op.range_shape[1:], generator=torch.Generator().manual_seed(0)) > 0.2
    y[..., ~seen] = torch.nan
    B = op.observed(seen)
    for found, expected in (
        (unconv.tikhonov(y, weight, 0.3, observed=seen), B.tikhonov(0.3)(y)),
        (unconv.lstsq(y, weight, observed=seen).solution, B.lstsq(y).solution),
        (unconv.conv2d_pinv(y, weight, observed=seen), B.pinv()(y)),
        (unconv.conv2d_adjoint(y, weight, observed=seen), B.H(y.nan_to_num())),
    ):
        assert found.isfinite().all()
        assert relative(found, expected) < 1e-12
    with pytest.raises(ValueError, match=r"mask.*\(6, 7\)"):
        unconv.tikhonov(y, weight, 0.3, observed=seen[1:])
