"""Every field of a certificate against numbers worked out without the library."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from unconv import Certificate, ConvOperator
from unconv.inverse import AccuracyWarning
from unconv.inverse.certificate import certify
from unconv.testing import dense_twin

from ..helpers import (
    C128,
    F64,
    data,
    has_gap,
    near_identity,
    randn,
    relative,
    said_if,
)
from ..strategies import cases, circulant_cases

PER_IMAGE = (
    *("rank", "gap", "residual", "optimality", "error_bound"),
    *("iterations", "refinements", "dropped", "converged"),
)
RUNGS = {"fourier": circulant_cases, "dense": cases}
every_rung = pytest.mark.parametrize("method", sorted(RUNGS))


def expected_fields(A: np.ndarray, x: np.ndarray, y: np.ndarray, damp: float) -> dict[str, float]:
    """residual and optimality by their definitions; the error where A sees it, and its bound."""
    norm = np.linalg.norm
    U, S, Vh = np.linalg.svd(A, full_matrices=False)
    kept = 1e-8 * S[0] < S
    U, s, Vh = U[:, kept], S[kept], Vh[kept]
    r = y - A @ x
    g = A.conj().T @ r - damp**2 * x
    best = Vh.conj().T @ (s / (s**2 + damp**2) * (U.conj().T @ y))
    blind = A.shape[1] > A.shape[0]  # in the null space only damp² bends
    proven = norm(g) / (damp**2 + (0.0 if damp and blind else s[-1] ** 2))
    if not damp:
        proven = min(proven, norm(r) / s[-1])
    rest = norm(x) - proven
    return {
        "residual": norm(r) / norm(y),
        "optimality": norm(g) / (S[0] * (S[0] * norm(x) + norm(y))),
        "error": norm(Vh @ (x - best)) / norm(best),
        "error_bound": proven / rest if rest > 0 else math.inf,
    }


@every_rung
def test_by_hand(method):
    """A = 2, y = (3, 4), x = (1, 1): r = (1, 2), g = 2r − λx, everything in plain numbers."""
    op = ConvOperator(torch.full((1, 1, 1), 2.0, dtype=F64), (2,), padding_mode="circular")
    x, y = torch.ones(1, 1, 2, dtype=F64), torch.tensor([[[3.0, 4.0]]], dtype=F64)
    found = certify(op, op.pinv(method=method), x, y)
    assert found.method == method
    assert found.rank.tolist() == [2]
    assert found.dropped.tolist() == [0]
    assert found.gap.tolist() == [math.inf]
    assert found.residual.tolist() == pytest.approx([math.sqrt(5) / 5])
    g = 2 * math.sqrt(5)
    assert found.optimality.tolist() == pytest.approx([g / (2 * (2 * math.sqrt(2) + 5))])
    e = g / 4  # = ‖r‖/2: both bounds are the same where all σ are
    assert found.error_bound.tolist() == pytest.approx([e / (math.sqrt(2) - e)])
    assert found.converged.tolist() == [False]
    assert found.iterations.tolist() == found.refinements.tolist() == [0]
    assert found.damp == 0.0
    damped = certify(op, op.tikhonov(1.0, method=method), x, y)
    g = math.hypot(2 * 1 - 1, 2 * 2 - 1)
    e = g / 5
    assert damped.error_bound.tolist() == pytest.approx([e / (math.sqrt(2) - e)])
    assert damped.rank is None
    assert damped.damp == 1.0


@every_rung
@pytest.mark.parametrize("damp", [0.0, 0.4])
@given(draw=st.data())
def test_fields_of_any_candidate(method, damp, draw):
    """Of a wrong x that A can see, so that nothing is round-off; image by image of the batch."""
    op = draw.draw(RUNGS[method]()).operator()
    A = dense_twin(op)
    assume(has_gap(A))
    assume(min(op.shape) == torch.linalg.matrix_rank(A, rtol=1e-8).min())  # nothing is dropped
    x, y = op.H(data(op.range_shape, op, seed=3)), data(op.range_shape, op, seed=4)
    inverse = op.tikhonov(damp, method=method) if damp else op.pinv(method=method)
    found = certify(op, inverse, x, y)
    assert len(found) == len(x)
    for i in range(len(x)):
        matrix = (A[i] if op.batch_size else A).numpy()
        fields = expected_fields(matrix, x[i].flatten().numpy(), y[i].flatten().numpy(), damp)
        one = found[i]
        assert one.residual == pytest.approx(fields["residual"], rel=1e-10)
        # the norm is a lower bound within a few percent, the curvature a lower bound
        assert one.optimality >= fields["optimality"] * (1 - 1e-10)
        assert one.optimality <= fields["optimality"] * 1.25
        if method == "dense":
            assert one.optimality == pytest.approx(fields["optimality"], rel=1e-9)
            assert one.error_bound <= fields["error_bound"] * (1 + 1e-7)
        assert one.error_bound >= fields["error"] * (1 - 1e-7)


@every_rung
@pytest.mark.parametrize("damp", [0.0, 0.4])
@given(draw=st.data())
def test_error_bound_is_a_bound(method, damp, draw):
    """For solutions spoilt at every size of spoiling, with the optimum from numpy."""
    op = draw.draw(RUNGS[method]()).operator()
    A = dense_twin(op)
    assume(has_gap(A))
    y = data(op.range_shape, op, seed=4)
    inverse = op.tikhonov(damp, method=method) if damp else op.pinv(method=method)
    best = inverse(y)
    direction = op.H(data(op.range_shape, op, seed=6))  # no component that A cannot see
    assume(bool(direction.flatten(1).any(1).all()) and bool(best.flatten(1).any(1).all()))
    for size in (1e-8, 1e-3, 1.0):
        step = direction / torch.linalg.norm(direction) * torch.linalg.norm(best) * size
        x = best + step
        found = certify(op, inverse, x, y)
        true = (torch.linalg.norm((x - best).flatten(1), dim=1)
                / torch.linalg.norm(best.flatten(1), dim=1))  # fmt: skip
        assert (found.error_bound >= true * (1 - 1e-5)).all()


@every_rung
def test_true_solutions_are_certified(method):
    op = ConvOperator(near_identity(2, 2, 3, 3), (6, 5), padding=1, padding_mode="circular")
    x = randn(3, 2, 6, 5)
    solution, found = op.lstsq(op(x), method=method)
    true = relative(solution, x)
    assert true < 1e-14
    assert found.converged.all()
    assert (found.error_bound < 1e-13).all()
    assert (found.residual < 1e-14).all()
    assert found.rank.tolist() == [60] * 3
    assert found.advice.startswith("the equations are solved to round-off: error_bound")
    known = [f"where {found.tolerance_how} allow {t:.1e}" for t in found.tolerance.tolist()]
    assert found.advice.endswith(tuple(known))
    assert "float64 and cond 1." in found.tolerance_how


@every_rung
def test_per_image(method):
    """Images of very different size and fate do not meet in the evidence."""
    op = ConvOperator(randn(3, 2, 3), (6,), padding=1, padding_mode="circular")
    x = randn(4, 2, 6)
    y = op(x)
    y[1] *= 1e9
    y[2] += randn(3, 6, seed=9)  # out of the range
    y[3] = 0
    _, found = op.lstsq(y, method=method)
    assert found.residual[0] < 1e-13
    assert found.residual[1] < 1e-13
    assert found.residual[2] > 0.01
    assert found.residual[3] == 0
    assert found.converged.all()
    for i in range(4):
        alone = op.lstsq(y[i : i + 1], method=method).certificate[0]
        assert alone.residual == pytest.approx(found[i].residual, rel=1e-6, abs=1e-13)
        assert alone.rank == found[i].rank


@every_rung
def test_own_kernels_have_own_ranks(method):
    box = torch.ones(1, 1, 3, dtype=F64)
    w = torch.stack([box, near_identity(1, 1, 3), torch.zeros_like(box)])
    op = ConvOperator(w, (6,), padding=1, padding_mode="circular")
    found = op.lstsq(randn(3, 1, 6), method=method).certificate
    assert found.rank.tolist() == [4, 6, 0]
    assert found.dropped.tolist() == [2, 0, 6]


@every_rung
def test_one_image_has_plain_numbers(method):
    op = ConvOperator(near_identity(1, 1, 3), (6,), padding=1, padding_mode="circular")
    found = op.lstsq(randn(3, 1, 6), method=method).certificate
    assert isinstance(found, Certificate)
    assert len(found) == 3
    assert found.residual.dtype == found.optimality.dtype == found.error_bound.dtype == F64
    one = found[1]
    assert type(one.rank) is int
    assert type(one.dropped) is int
    assert type(one.converged) is bool
    for name in ("gap", "residual", "optimality", "error_bound"):
        assert type(getattr(one, name)) is float
    assert one.residual == float(found.residual[1])
    assert len(one) == 1
    assert found[-1] == found[2]
    with pytest.raises(IndexError):
        found[3]
    assert len(list(found)) == 3
    damped = op.lstsq(randn(3, 1, 6), 1.0, method=method).certificate
    assert damped.rank is None
    assert damped[0].rank is None


@every_rung
@pytest.mark.parametrize("damp", [0.0, 1.0])
def test_as_json(method, damp):
    op = ConvOperator(near_identity(1, 1, 3), (6,), padding=1, padding_mode="circular")
    found = op.lstsq(randn(3, 1, 6), damp, method=method).certificate
    record = json.loads(json.dumps(found.as_dict()))
    assert record["method"] == method
    assert record["rank"] == (None if damp else [6, 6, 6])
    assert len(record["residual"]) == 3
    json.dumps(found[0].as_dict())


@every_rung
def test_dropped_directions_do_not_count_against_the_solution(method):
    """A cut through non-zero singular values: optimal among what was kept."""
    op = ConvOperator(randn(2, 2, 3), (9,), padding=1, padding_mode="circular")
    y = randn(2, 2, 9)
    with pytest.warns(AccuracyWarning, match="the rank is ambiguous"):
        x, found = op.lstsq(y, rtol=0.3, method=method)
    A = dense_twin(op)
    assert relative(x.flatten(1), y.flatten(1) @ torch.linalg.pinv(A, rtol=0.3).mT) < 1e-13
    S = torch.linalg.svdvals(A)
    kept, lost = S[0.3 * S[0] < S][-1], S[0.3 * S[0] >= S][0]
    assert (found.dropped > 0).all()
    assert (found.rank + found.dropped == 18).all()
    assert (found.gap <= float(kept / lost) * (1 + 1e-9)).all()
    assert found.converged.all()
    assert (found.error_bound < 1e-12).all()
    assert "decided by the cut-off" in found.advice


# --- advice ---------------------------------------------------------------------------------------


@every_rung
def test_advice_when_not_converged(method):
    op = ConvOperator(near_identity(1, 1, 3), (6,), padding=1, padding_mode="circular")
    y = randn(1, 1, 6)
    inverse = op.pinv(method=method)
    found = certify(op, inverse, inverse(y) * 1.001, y)
    assert not found.converged.any()
    assert "above round-off" in found.advice


@every_rung
def test_advice_when_ill_conditioned(method):
    """[1, 1 + ε] on an even circle: σ_min = ε exactly."""
    eps = 1e-9
    w = torch.tensor([[[1.0, 1.0 + eps]]], dtype=F64)
    op = ConvOperator(w, (8,), padding=((0, 1),), padding_mode="circular")
    x = randn(1, 1, 8)
    solution, found = op.lstsq(op(x), method=method)
    assert found.rank.tolist() == [8]
    true = relative(solution, x)
    assert true > 1e-12
    assert float(found.error_bound) >= true / 10  # round-off of the certificate itself
    ill = ConvOperator(torch.tensor([[[1.0, 1.0 + 1e-14]]], dtype=F64), (8,),
                       padding=((0, 1),), padding_mode="circular")  # fmt: skip
    with pytest.warns(AccuracyWarning, match="ill-conditioned|above round-off"):
        found = ill.lstsq(randn(1, 1, 8), method=method).certificate
    assert found.rank.tolist() == [8]
    assert "ill-conditioned" in found.advice or "above round-off" in found.advice


@every_rung
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64, torch.bfloat16])
def test_low_precision_is_judged_in_double(method, dtype):
    op = ConvOperator(near_identity(2, 2, 3, dtype=dtype), (8,), padding=1, padding_mode="circular")
    x = randn(2, 2, 8, dtype=dtype)
    y = op(x)
    solution, found = op.lstsq(y, method=method)
    assert solution.dtype == dtype
    wide = C128 if dtype.is_complex else F64
    A = dense_twin(op)
    computed, _ = op.pinv(method=method).solution(y)  # before its rounding to bfloat16
    r = y.to(wide).flatten(1) - computed.to(wide).flatten(1) @ A.mT
    expected = torch.linalg.norm(r, dim=1) / torch.linalg.norm(y.to(wide).flatten(1), dim=1)
    assert relative(found.residual, expected) < 1e-6
    assert found.residual.dtype == F64
    assert found.converged.all()
    best = y.to(wide).flatten(1) @ torch.linalg.inv(A).mT
    error = torch.linalg.norm(solution.to(wide).flatten(1) - best, dim=1)
    true = error / torch.linalg.norm(solution.to(wide).flatten(1), dim=1)
    assert (found.error_bound >= true * (1 - 1e-6)).all()


@pytest.mark.parametrize("damp", [0.0, 1e-4])
def test_rounding_of_the_data_is_part_of_the_bound(damp):
    """The float32 data of an ill-conditioned operator hide x, which is no fault of the solver; but
    nothing has converged of which not even the first digit is sure."""
    op = ConvOperator(torch.tensor([[[1.0, 6, 15, 20, 15, 6, 1]]], dtype=F64), (40,), padding=3)
    y = op(randn(1, 1, 40))
    best = op.lstsq(y, damp).solution
    for dtype, least in ((F64, 0.0), (torch.float32, 1e-4), (torch.bfloat16, 0.5)):
        # of bfloat16 nothing is left; undamped float32 data have a bound of 0.24
        hidden = dtype == torch.bfloat16 or (dtype == torch.float32 and not damp)
        with said_if(hidden, "float64 data or more damp"):
            solution, found = op.lstsq(y.to(dtype), damp)
        error = relative(solution, best)
        assert float(found.error_bound) >= error >= least
        assert found.converged.tolist() == [not hidden]
        assert (found.error_bound <= found.tolerance).tolist() == found.converged.tolist()
        assert str(dtype).removeprefix("torch.") in found.tolerance_how
    assert op.lstsq(y, damp).certificate.error_bound < 1e-3


@pytest.mark.filterwarnings("ignore::unconv.AccuracyWarning")
@given(
    seed=st.integers(0, 2**20),
    k=st.integers(1, 8),
    n=st.integers(2, 24),
    digits=st.floats(0, 12),
    dtype=st.sampled_from([F64, torch.float32, torch.float16, torch.bfloat16]),
    tol=st.sampled_from([None, 1e-6, 1e-2, 0.3]),
)
@settings(max_examples=60)
def test_nothing_has_converged_without_a_sure_digit(seed, k, n, digits, dtype, tol):
    """A bound of 0.2 is no convergence, whatever data and condition are to blame for it."""
    smooth = torch.ones(1, dtype=F64)
    for _ in range(k - 1):
        smooth = torch.nn.functional.conv1d(smooth[None, None], torch.ones(1, 1, 2, dtype=F64),
                                            padding=1)[0, 0] / 2  # fmt: skip
    taps = smooth + 10**-digits * randn(len(smooth), seed=seed)
    op = ConvOperator(taps[None, None].to(dtype), (n,), padding=len(smooth) // 2)
    y = op(randn(2, 1, n, dtype=dtype, seed=seed + 1))
    found = op.lstsq(y, tol=tol).certificate
    assert (found.error_bound[found.converged] <= max(0.1, tol or 0)).all()
    assert torch.equal(found.converged, found.error_bound <= found.tolerance)


@every_rung
@pytest.mark.parametrize("damp", [0.0, 0.1])
def test_a_tolerance_that_was_asked_for_binds(method, damp):
    """No arithmetic reaches 1e-16; without the request the same answer counts as converged."""
    op = ConvOperator(near_identity(1, 1, 3), (6,), padding=1, padding_mode="circular")
    y = randn(2, 1, 6)
    assert op.lstsq(y, damp, method=method).certificate.converged.all()
    assert op.lstsq(y, damp, method=method, tol=1e-12).certificate.converged.all()
    with pytest.warns(AccuracyWarning, match="above tol=1e-17, which was asked for"):
        found = op.lstsq(y, damp, method=method, tol=1e-17).certificate
    assert not found.converged.any()


@every_rung
def test_empty_batch(method):
    op = ConvOperator(near_identity(1, 1, 3), (6,), padding=1, padding_mode="circular")
    x, found = op.lstsq(torch.zeros(0, 1, 6, dtype=F64), method=method)
    assert x.shape == (0, 1, 6)
    assert len(found) == 0
    for name in PER_IMAGE:
        assert len(getattr(found, name)) == 0


# --- extreme units --------------------------------------------------------------------------------


@every_rung
@pytest.mark.parametrize("unit", [1e-200, 1e200])
def test_honest_in_any_unit_of_the_data(method, unit):
    """Norms whose squares under- or overflow must not certify a wrong x."""
    op = ConvOperator(near_identity(1, 1, 3), (6,), padding=1, padding_mode="circular")
    y = randn(1, 1, 6)
    inverse = op.pinv(method=method)
    wrong = inverse(y) + 1
    expected = certify(op, inverse, wrong, y)
    found = certify(op, inverse, unit * wrong, unit * y)
    assert not found.converged.any()
    for name in ("residual", "optimality", "error_bound"):
        assert getattr(found, name).tolist() == pytest.approx(getattr(expected, name).tolist())


@every_rung
@pytest.mark.parametrize("unit", [1e-170, 1e170])
def test_honest_in_any_unit_of_the_weight(method, unit):
    op = ConvOperator(near_identity(1, 1, 3), (6,), padding=1, padding_mode="circular")
    scaled = op.with_weight(op.weight * unit)
    y = randn(1, 1, 6)
    wrong = op.pinv(method=method)(y) + 1
    expected = certify(op, op.pinv(method=method), wrong, y)
    found = certify(scaled, scaled.pinv(method=method), wrong / unit, y)
    assert not found.converged.any()
    for name in ("residual", "optimality", "error_bound"):
        assert getattr(found, name).tolist() == pytest.approx(getattr(expected, name).tolist())


# --- how it is printed


@pytest.mark.parametrize("images", [0, 1, 3, 400])
@pytest.mark.parametrize("damp", [0.0, 0.1])
def test_it_is_printed_in_ten_lines(images, damp):
    """However many images, and of one of them alone; every number is there."""
    op = ConvOperator(near_identity(1, 1, 3), (6,), padding=1, padding_mode="circular")
    found = op.lstsq(randn(images, 1, 6), damp).certificate
    for one in [found, *([found[images - 1]] if images else [])]:
        lines = repr(one).splitlines()
        assert len(lines) == 10
        assert lines[0] == f"Certificate of {len(one)} image{'s' if len(one) != 1 else ''}"
        said = {line[2:14].strip(): line[14:] for line in lines[1:]}
        assert said["method"] == one.method
        assert said["advice"] == one.advice
        assert said["converged"] == f"{len(one)} of {len(one)}"
    if images:
        ends = f"{float(found.residual.min()):.3g}", f"{float(found.residual.max()):.3g}"
        assert all(end in repr(found) for end in ends)
