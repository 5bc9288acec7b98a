"""The matrix of every operator, to the last bit, in every layout and order."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.sparse.linalg import lsqr, spsolve
from torch import Tensor, nn

import unconv.operators.matrix.pattern
from unconv import ConvOperator, MemoryLimitError
from unconv.operators.matrix import (
    LAYOUTS,
    ORDERS,
    conv_matrix,
    operator_matrix,
)
from unconv.testing import dense_twin

from ...helpers import (
    C128,
    F64,
    HALVES,
    ROUND_OFF,
    SINGLES,
    assert_says,
    engine,
    near_identity,
    randn,
    relative,
)
from ...strategies import Case, cases

TENSORS = ("sparse_csr", "sparse_coo", "dense")
any_case = cases(per_sample=False)


def densely(A: Tensor | csr_array) -> Tensor:
    return torch.from_numpy(A.toarray()) if isinstance(A, csr_array) else A.to_dense()


# --- laws and the twin ----------------------------------------------------------------------------


@given(any_case, st.sampled_from(list(LAYOUTS)))
@settings(max_examples=120)
def test_equal_to_the_twin_to_the_last_bit(case: Case, layout: str):
    op = case.operator()
    A = operator_matrix(op, layout)
    assert tuple(A.shape) == op.shape
    assert torch.equal(densely(A), dense_twin(op))


@given(any_case)
@settings(max_examples=60)
def test_equal_to_the_operator_to_the_last_bit(case: Case):
    """Where one or two taps meet; the sum of more is rounded in the operator's own order."""
    op = case.operator()
    ones = ConvOperator(torch.ones_like(op.weight.real), case.input_shape, **case.options)
    few = operator_matrix(ones, "dense") <= 2
    with engine("direct"):
        expected = op.to_dense()
    A = operator_matrix(op, "dense")
    assert torch.equal(A[few], expected[few])
    assert relative(A, expected) < ROUND_OFF[F64]


@given(any_case, st.sampled_from(list(LAYOUTS)))
def test_order_is_how_numpy_ravels(case: Case, layout: str):
    op = case.operator()
    A = densely(operator_matrix(op, layout, "F"))
    rows, columns = (
        torch.from_numpy(np.arange(np.prod(shape)).reshape(shape).ravel("F").copy())
        for shape in (op.range_shape, op.domain_shape)
    )
    assert torch.equal(A, dense_twin(op)[rows][:, columns])


@given(any_case, st.sampled_from(ORDERS))
def test_sparse_tensors_are_canonical(case: Case, order: str):
    op = case.operator()
    csr, coo = (operator_matrix(op, layout, order) for layout in TENSORS[:2])
    assert (csr.layout, coo.layout) == (torch.sparse_csr, torch.sparse_coo)
    torch.sparse_csr_tensor(  # torch's own check: sorted, distinct, within bounds
        csr.crow_indices(), csr.col_indices(), csr.values(), csr.shape, check_invariants=True
    )
    assert coo.is_coalesced()
    rows = torch.repeat_interleave(csr.crow_indices().diff())
    assert torch.equal(coo.indices(), torch.stack([rows, csr.col_indices()]))
    assert torch.equal(coo.values(), csr.values())
    again = torch.sparse_coo_tensor(
        coo.indices(), coo.values(), coo.shape, check_invariants=True
    ).coalesce()
    assert torch.equal(again.indices(), coo.indices())


@given(any_case)
def test_scipy_array_is_canonical(case: Case):
    A = operator_matrix(case.operator(), "scipy")
    assert isinstance(A, csr_array)
    assert A.indices.dtype == A.indptr.dtype == np.int32
    fresh = csr_array((A.data, A.indices, A.indptr), shape=A.shape)
    assert fresh.has_canonical_format


@given(any_case, st.sampled_from([1, 2, 7, 50]))
def test_blocks_do_not_show(case: Case, block: int):
    op = case.operator()
    expected = operator_matrix(op, "scipy")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unconv.operators.matrix.pattern, "BLOCK", block)
        A = operator_matrix(op, "scipy")
    for name in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(A, name), getattr(expected, name))


@pytest.mark.parametrize("dtype", [*SINGLES, *HALVES, C128])
@pytest.mark.parametrize("mode", ["zeros", "replicate"])
def test_dtype_is_the_operators(dtype, mode):
    op = ConvOperator(randn(2, 1, 5, dtype=dtype), (4,), padding=6, padding_mode=mode)
    A = operator_matrix(op, "dense")
    assert A.dtype == dtype
    assert relative(A, dense_twin(op)) < ROUND_OFF[dtype]


@pytest.mark.parametrize("dtype", HALVES)
def test_half_precisions_are_rounded_once(dtype):
    op = ConvOperator(randn(2, 1, 9, dtype=dtype), (3,), padding=8, padding_mode="replicate")
    single = op.with_weight(op.weight.float())
    assert torch.equal(operator_matrix(op, "dense"), operator_matrix(single, "dense").to(dtype))


def test_entries_that_are_zero_are_kept():
    zero = ConvOperator(torch.zeros(1, 1, 3), (4,), padding=1)
    assert operator_matrix(zero, "scipy").nnz == 10


def test_arguments_are_untouched():
    weight = randn(2, 3, 3)
    before = weight.clone()
    for layout in LAYOUTS:
        A = operator_matrix(ConvOperator(weight, (5,), padding=2), layout)
        values = A.data if layout == "scipy" else A if layout == "dense" else A.values()
        values *= 2
        assert torch.equal(weight, before)


# --- gradients ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layout", "dtype"), [*((name, F64) for name in TENSORS), ("sparse_coo", C128), ("dense", C128)]
)
@pytest.mark.parametrize("mode", ["zeros", "replicate"])
def test_differentiable_in_the_weight(layout, mode, dtype):
    weight = randn(2, 1, 3, 2, dtype=dtype).requires_grad_()
    x = randn(12, 2, dtype=dtype, seed=1)

    def product(weight: Tensor) -> Tensor:
        op = ConvOperator(weight, (3, 4), padding=(3, 2), padding_mode=mode, flip=True)
        return operator_matrix(op, layout) @ x

    (expected,) = torch.autograd.grad(
        product(weight).abs().square().sum(), weight, retain_graph=True
    )
    op = ConvOperator(weight, (3, 4), padding=(3, 2), padding_mode=mode, flip=True)
    y = op(x.mT.reshape(2, 1, 3, 4))
    (found,) = torch.autograd.grad(y.abs().square().sum(), weight)
    assert relative(found, expected) < 1e-13


@pytest.mark.parametrize("mode", ["zeros", "replicate"])
def test_gradcheck(mode):
    weight = randn(1, 1, 3).requires_grad_()

    def matrix(weight: Tensor) -> Tensor:
        op = ConvOperator(weight, (3,), padding=4, padding_mode=mode)
        return operator_matrix(op, "dense").square()

    assert torch.autograd.gradcheck(matrix, weight)
    assert torch.autograd.gradgradcheck(matrix, weight)


def test_complex_csr_has_no_gradient_in_torch():
    op = ConvOperator(randn(1, 1, 3, dtype=C128).requires_grad_(), (5,))
    with pytest.raises(TypeError, match="no gradient") as error:
        operator_matrix(op)
    assert_says(error, "'sparse_coo'", "torch.no_grad()")
    with torch.no_grad():
        assert torch.equal(operator_matrix(op).to_dense(), dense_twin(op))


def test_scipy_loses_no_gradient_in_silence():
    op = ConvOperator(nn.Parameter(randn(1, 1, 3)), (5,))
    with pytest.raises(TypeError, match=r"a SciPy matrix has no gradient.*detach"):
        operator_matrix(op, "scipy")
    constant = op.with_weight(op.weight.detach())
    with torch.no_grad():
        assert (operator_matrix(op, "scipy") != operator_matrix(constant, "scipy")).nnz == 0


# --- solvers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["zeros", "circular", "symmetric", "reflect", "replicate"])
def test_spsolve_agrees_with_lstsq(mode):
    op = ConvOperator(near_identity(2, 2, 3, 3), (20, 17), padding=1, padding_mode=mode)
    y = randn(1, *op.range_shape, seed=1)
    A = operator_matrix(op, "scipy")
    x = torch.from_numpy(spsolve(A.tocsc(), y.flatten().numpy()))
    assert relative(x, op.lstsq(y).solution.flatten()) < 1e-11


@pytest.mark.parametrize("options", [{"padding": "full"}, {"stride": 2, "padding": 1}, {}])
def test_lsqr_agrees_with_lstsq(options):
    op = ConvOperator(near_identity(2, 2, 3, 3), (12, 13), **options)
    y = randn(1, *op.range_shape, seed=1)
    for damp in (0.0, 0.3):
        A = operator_matrix(op, "scipy")
        x = lsqr(A, y.flatten().numpy(), damp=damp, atol=1e-15, btol=1e-15, iter_lim=10**4)[0]
        assert relative(torch.from_numpy(x), op.lstsq(y, damp).solution.flatten()) < 1e-9


# --- sizes ----------------------------------------------------------------------------------------

PEAK = """
from pathlib import Path
import torch
from unconv import conv_matrix

def peak():
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])

K = torch.randn(3, 3, dtype=torch.float64)
for layout in {layouts}:
    conv_matrix(K, (8, 8), "same", layout=layout)
before = peak()
A = conv_matrix(K, (512, 512), "same", layout={layouts}[-1])
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("layout", "index"), [("sparse_csr", 8), ("scipy", 4)])
def test_memory_is_within_three_times_the_result(layout, index):
    script = PEAK.format(layouts=[layout])
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    entries = (3 * 512 - 2) ** 2
    result = entries * (8 + index) + index * (512**2 + 1)
    assert int(done.stdout) < 3 * result


@pytest.mark.parametrize("layout", TENSORS[:2])
def test_columns_beyond_32_bits(layout):
    """Three outputs that read both ends of 2³³ samples."""
    n = 2**33
    A = conv_matrix(randn(2), (n,), "valid", dilation=n - 3, layout=layout)
    assert A.shape == (3, n)
    columns = A.col_indices() if layout == "sparse_csr" else A.indices()[1]
    assert columns.tolist() == [0, n - 3, 1, n - 2, 2, n - 1]


def test_columns_beyond_32_bits_in_scipy():
    n = 2**33
    A = conv_matrix(randn(2), (n,), "valid", dilation=n - 3, layout="scipy")
    assert A.indices.dtype == np.int64
    assert A.indices.tolist() == [0, n - 3, 1, n - 2, 2, n - 1]


BYTES = {  # of the 4 × 6 matrix below, 12 entries
    "sparse_csr": 12 * 16 + 5 * 8,
    "sparse_coo": 12 * 24,
    "dense": 24 * 8,
    "scipy": 12 * 12 + 5 * 4,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_memory_limit_is_the_size_of_the_result(layout):
    op = ConvOperator(randn(1, 1, 3), (6,))
    operator_matrix(op, layout, memory_limit=BYTES[layout])
    with pytest.raises(MemoryLimitError, match=f"{BYTES[layout]} B"):
        operator_matrix(op, layout, memory_limit=BYTES[layout] - 1)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("transposed", [False, True])
def test_what_cannot_fit_is_refused_with_its_size(layout, transposed):
    op = ConvOperator(randn(1, 1, 3, 3), (10**6, 10**6), transposed=transposed)
    with pytest.raises(MemoryLimitError) as error:
        operator_matrix(op, layout)
    m, n = op.shape
    assert_says(error, f"{m} × {n}", f"as {layout!r}", "GB", "memory_limit=4.29 GB")
    if layout != "dense":
        assert_says(error, f"up to {9 * min(m, n)} entries")


# --- refusals -------------------------------------------------------------------------------------

REFUSED = [
    ({"layout": "csr"}, F64, ValueError, ["layout='csr'", *LAYOUTS]),
    ({"order": "A"}, F64, ValueError, ["order='A'", "'C'", "'F'"]),
    ({"layout": "scipy"}, torch.float16, TypeError, ["float32", "got torch.float16", ".float()"]),
    ({"layout": "sparse_csr"}, torch.bfloat16, TypeError, ["bfloat16", "layout='dense'"]),
]


@pytest.mark.parametrize(("options", "dtype", "kind", "parts"), REFUSED)
def test_refused(options, dtype, kind, parts):
    op = ConvOperator(torch.ones(1, 1, 3).to(dtype), (5,))
    with pytest.raises(kind) as error:
        operator_matrix(op, **options)
    assert_says(error, *parts)


def test_one_kernel_a_sample_is_refused():
    op = ConvOperator(randn(4, 2, 1, 3), (5,))
    with pytest.raises(ValueError, match="each of 4 samples") as error:
        operator_matrix(op)
    assert_says(error, "op.of_sample(i)")
    assert torch.equal(operator_matrix(op.of_sample(2), "dense"), dense_twin(op)[2])
