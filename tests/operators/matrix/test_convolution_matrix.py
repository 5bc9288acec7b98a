"""`conv_matrix` in the words of SciPy, MATLAB, NumPy and torch.

Kernels and pictures hold small integers, so every sum is exact and all comparisons are equalities.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import ndimage, signal
from torch import Tensor

from unconv import ConvOperator, MemoryLimitError
from unconv.operators.matrix import (
    CONVENTIONS,
    LAYOUTS,
    SHAPES,
    conv_matrix,
)

from ...helpers import F64, assert_says
from .test_factors import padded_by

BOUNDARIES = tuple(CONVENTIONS["torch"].boundaries)
# by unconv's name: those of scipy.ndimage and of scipy.signal.convolve2d
NDIMAGE = {
    "constant": ["constant", "grid-constant"],
    "circular": ["wrap", "grid-wrap"],
    "reflect": ["mirror"],
    "replicate": ["nearest"],
    "symmetric": ["reflect", "grid-mirror"],
}
CONVOLVE2D = {"zeros": "fill", "circular": "wrap", "symmetric": "symm"}
CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
LARGEST = {1: 7, 2: 4, 3: 3}


def integers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-9, 10, shape).astype(float)


class Pair(NamedTuple):
    """A kernel and a picture."""

    w: np.ndarray
    x: np.ndarray

    def applied(self, *args, **options) -> np.ndarray:
        """The matrix times the picture, as a flat array."""
        return conv_matrix(torch.from_numpy(self.w), self.x.shape, *args, **options) @ (
            torch.from_numpy(self.x).flatten()
        )


@st.composite
def pairs(draw: st.DrawFn, dims: tuple[int, ...] = (1, 2, 3)) -> Pair:
    nd = draw(st.sampled_from(dims))
    sizes = st.lists(st.integers(1, LARGEST[nd]), min_size=nd, max_size=nd)
    return Pair(integers(*draw(sizes)), integers(*draw(sizes), seed=1))


def exactly(found: Tensor, expected: np.ndarray) -> None:
    np.testing.assert_array_equal(found.numpy(), expected.ravel())


# --- SciPy ----------------------------------------------------------------------------------------


@given(pairs(dims=(2,)), st.sampled_from(SHAPES), st.sampled_from(list(CONVOLVE2D)))
@settings(max_examples=150)
def test_convolve2d(pair: Pair, shape: str, boundary: str):
    smaller = all(k <= n for k, n in zip(pair.w.shape, pair.x.shape, strict=True))
    assume(shape != "valid" or smaller)  # SciPy would swap kernel and picture
    expected = signal.convolve2d(pair.x, pair.w, shape, CONVOLVE2D[boundary])
    exactly(pair.applied(shape, boundary, flip=True), expected)
    expected = signal.correlate2d(pair.x, pair.w, shape, CONVOLVE2D[boundary])
    exactly(pair.applied(shape, boundary), expected)


@given(pairs(), st.sampled_from(list(NDIMAGE)), st.data())
@settings(max_examples=150)
def test_ndimage_correlate_and_convolve(pair: Pair, boundary: str, data: st.DataObject):
    mode = data.draw(st.sampled_from(NDIMAGE[boundary]))
    anchor = [data.draw(st.integers(0, k - 1)) for k in pair.w.shape]
    origin = [a - k // 2 for a, k in zip(anchor, pair.w.shape, strict=True)]
    expected = ndimage.correlate(pair.x, pair.w, mode=mode, origin=origin)
    exactly(pair.applied("same", boundary, anchor=anchor), expected)
    expected = ndimage.convolve(pair.x, pair.w, mode=mode, origin=origin)
    exactly(pair.applied("same", boundary, anchor=anchor, flip=True), expected)


@given(pairs(), st.sampled_from(["full", "valid"]))
def test_signal_convolve_in_all_dimensions(pair: Pair, shape: str):
    smaller = all(k <= n for k, n in zip(pair.w.shape, pair.x.shape, strict=True))
    assume(shape != "valid" or smaller)
    expected = signal.convolve(pair.x, pair.w, shape, method="direct")
    exactly(pair.applied(shape, flip=True), expected)


# --- each library in its own words ----------------------------------------------------------------


def complex_pair(pair: Pair) -> Pair:
    """The same sizes, with imaginary parts: correlations conjugate the kernel."""
    w, x = (a + 1j * integers(*a.shape, seed=7) for a in pair)
    return Pair(w, x)


@given(pairs(), st.booleans(), st.booleans(), st.data())
@settings(max_examples=150)
def test_ndimage_in_its_own_words(pair: Pair, flip: bool, values: bool, data: st.DataObject):
    mode = data.draw(st.sampled_from(list(CONVENTIONS["scipy.ndimage"].boundaries)))
    pair = complex_pair(pair) if values else pair
    function = ndimage.convolve if flip else ndimage.correlate
    options = {"convention": "scipy.ndimage", "flip": flip}
    exactly(pair.applied("same", mode, **options), function(pair.x, pair.w, mode=mode))
    exactly(pair.applied("same", **options), function(pair.x, pair.w))


@given(pairs(dims=(2,)), st.booleans(), st.booleans(), st.sampled_from(SHAPES), st.data())
@settings(max_examples=150)
def test_signal_in_its_own_words(
    pair: Pair, flip: bool, values: bool, shape: str, data: st.DataObject
):
    boundary = data.draw(st.sampled_from(list(CONVENTIONS["scipy.signal"].boundaries)))
    smaller = all(k <= n for k, n in zip(pair.w.shape, pair.x.shape, strict=True))
    assume(shape != "valid" or smaller)  # SciPy would swap kernel and picture
    pair = complex_pair(pair) if values else pair
    function = signal.convolve2d if flip else signal.correlate2d
    options = {"convention": "scipy.signal", "flip": flip}
    exactly(pair.applied(shape, boundary, **options), function(pair.x, pair.w, shape, boundary))
    exactly(pair.applied(shape, **options), function(pair.x, pair.w, shape))


@given(pairs(dims=(1, 3)), st.booleans(), st.sampled_from(SHAPES))
def test_signal_without_two_axes(pair: Pair, flip: bool, shape: str):
    smaller = all(k <= n for k, n in zip(pair.w.shape, pair.x.shape, strict=True))
    assume(shape != "valid" or smaller)
    function = signal.convolve if flip else signal.correlate
    expected = function(pair.x, pair.w, shape, method="direct")
    exactly(pair.applied(shape, convention="scipy.signal", flip=flip), expected)


@given(pairs(dims=(1,)), st.booleans(), st.booleans(), st.sampled_from(SHAPES))
@settings(max_examples=150)
def test_numpy_in_its_own_words(pair: Pair, flip: bool, values: bool, shape: str):
    assume(shape == "full" or len(pair.w) <= len(pair.x))
    pair = complex_pair(pair) if values else pair
    function = np.convolve if flip else np.correlate
    expected = function(pair.x, pair.w, shape)
    exactly(pair.applied(shape, convention="numpy", flip=flip), expected)


@given(pairs(dims=(1,)), st.booleans(), st.data())
@settings(max_examples=150)
def test_numpy_pads_first(pair: Pair, flip: bool, data: st.DataObject):
    mode, k = data.draw(st.sampled_from(list(CONVENTIONS["numpy"].boundaries))), len(pair.w)
    function = np.convolve if flip else np.correlate
    expected = function(np.pad(pair.x, k - 1, mode), pair.w, "valid")
    exactly(pair.applied("full", mode, convention="numpy", flip=flip), expected)


@given(pairs(), st.sampled_from(SHAPES), st.sampled_from(BOUNDARIES), st.booleans())
def test_torch_is_the_default_and_does_not_conjugate(
    pair: Pair, shape: str, boundary: str, flip: bool
):
    assume(shape != "valid" or all(k <= n for k, n in zip(*(a.shape for a in pair), strict=True)))
    pair = complex_pair(pair)
    expected = pair.applied(shape, boundary, flip=flip)
    exactly(pair.applied(shape, boundary, convention="torch", flip=flip), expected.numpy())


@given(pairs(dims=(2,)), st.sampled_from(["full", "same"]), st.booleans(), st.data())
def test_matlab_in_its_own_words(pair: Pair, shape: str, flip: bool, data: st.DataObject):
    """`conv2` and `imfilter` by their documented definitions, vectors as X(:)."""
    boundary = data.draw(st.sampled_from(list(CONVENTIONS["matlab"].boundaries)))
    even = any(k % 2 == 0 for k in pair.w.shape)
    assume(not (flip and even and shape == "same") or boundary == "0")
    margins = [(k - 1, k - 1) for k in pair.w.shape]
    padded = padded_by(CONVENTIONS["matlab"].boundaries[boundary], pair.x, margins)
    expected = (signal.convolve2d if flip else signal.correlate2d)(padded, pair.w, "valid")
    if shape == "same":  # conv2: from element ⌈(k + 1)/2⌉ of the full one; imfilter: see below
        first = [k // 2 if flip else k - 1 - (k - 1) // 2 for k in pair.w.shape]
        expected = expected[
            tuple(slice(a, a + n) for a, n in zip(first, pair.x.shape, strict=True))
        ]
    A = conv_matrix(
        torch.from_numpy(pair.w), pair.x.shape, shape, boundary, convention="matlab", flip=flip
    )
    exactly(A @ torch.from_numpy(pair.x.ravel("F")), expected.ravel("F"))


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_a_word_of_another_library_is_told_whose_it_is(convention):
    own = CONVENTIONS[convention].boundaries
    for name, library in CONVENTIONS.items():
        for word in set(library.boundaries) - set(own):
            with pytest.raises(ValueError, match="is no word of") as error:
                conv_matrix(torch.ones(3), (5,), "same", word, convention=convention)
            assert_says(error, f"convention={convention!r}", repr(name), *map(repr, own))
            conv_matrix(torch.ones(3), (5,), "same", word, convention=name)  # the remedy


# --- MATLAB ---------------------------------------------------------------------------------------


def convmtx2(H: np.ndarray, m: int, n: int) -> np.ndarray:
    """From its definition: reshape(T·X(:), size(H) + [m n] − 1) = conv2(X, H)."""
    (p, q), rows = H.shape, H.shape[0] + m - 1
    T = np.zeros((rows * (q + n - 1), m * n))
    for i, j, a, b in itertools.product(range(m), range(n), range(p), range(q)):
        T[(i + a) + (j + b) * rows, i + j * m] += H[a, b]
    return T


@given(pairs(dims=(2,)), st.sampled_from(list(LAYOUTS)))
def test_convmtx2(pair: Pair, layout: str):
    T = conv_matrix(
        torch.from_numpy(pair.w), pair.x.shape, "full", flip=True, order="F", layout=layout
    )
    T = T.toarray() if layout == "scipy" else T.to_dense().numpy()
    np.testing.assert_array_equal(T, convmtx2(pair.w, *pair.x.shape))


def test_the_example_of_convmtx2():
    """ones(3, 3)/9 and magic(5), as MATLAB prints the first rows."""
    magic = np.array(
        [
            [17, 24, 1, 8, 15],
            [23, 5, 7, 14, 16],
            [4, 6, 13, 20, 22],
            [10, 12, 19, 21, 3],
            [11, 18, 25, 2, 9],
        ],
        float,
    )
    T = conv_matrix(torch.ones(3, 3, dtype=F64) / 9, (5, 5), flip=True, order="F")
    Y = (T @ torch.from_numpy(magic.ravel("F"))).numpy().reshape(7, 7, order="F")
    expected = [
        [1.8889, 4.5556, 4.6667, 3.6667, 2.6667, 2.5556, 1.6667],
        [4.4444, 7.6667, 8.5556, 6.5556, 6.7778, 5.8889, 3.4444],
        [4.8889, 8.7778, 11.1111, 10.8889, 12.8889, 10.5556, 5.8889],
    ]
    np.testing.assert_array_equal(Y[:3].round(4), expected)


@given(pairs(dims=(2,)), st.sampled_from(["zeros", "circular", "replicate", "symmetric"]))
def test_imfilter(pair: Pair, boundary: str):
    """Correlation about the element floor((size(h) + 1)/2), counted from 1, of padarray's image."""
    expected = np.zeros_like(pair.x)
    margins = [(k, k) for k in pair.w.shape]
    padded = padded_by(boundary, pair.x, margins)
    centre = [(k + 1) // 2 - 1 for k in pair.w.shape]
    for tap in np.ndindex(pair.w.shape):
        low = [k + t - c for k, t, c in zip(pair.w.shape, tap, centre, strict=True)]
        window = tuple(slice(a, a + n) for a, n in zip(low, pair.x.shape, strict=True))
        expected += pair.w[tap] * padded[window]
    exactly(pair.applied("same", boundary), expected)


def test_conv2_same_of_matlab():
    """The centre of conv2 is ⌊k/2⌋: the full result from there on."""
    w, x = integers(4, 3), integers(6, 5, seed=1)
    expected = signal.convolve2d(x, w)[2:8, 1:6]
    exactly(Pair(w, x).applied("same", anchor=(2, 1), flip=True), expected)


# --- NumPy and torch: every option ----------------------------------------------------------------


@given(pairs(), st.sampled_from(SHAPES), st.sampled_from(BOUNDARIES), st.data())
@settings(max_examples=150)
def test_every_option_is_pad_and_torch_conv(
    pair: Pair, shape: str, boundary: str, data: st.DataObject
):
    nd = pair.x.ndim
    stride, dilation = ([data.draw(st.integers(1, 3)) for _ in range(nd)] for _ in range(2))
    groups, a, b = (data.draw(st.integers(1, 2)) for _ in range(3))
    flip = data.draw(st.booleans())
    w = torch.from_numpy(integers(groups * a, b, *pair.w.shape))
    x = torch.from_numpy(integers(groups * b, *pair.x.shape, seed=1))
    spans = [d * (k - 1) for d, k in zip(dilation, pair.w.shape, strict=True)]
    anchor = [data.draw(st.integers(0, k - 1)) for k in pair.w.shape]
    before = [c * d for c, d in zip(anchor, dilation, strict=True)]
    margins = {
        "full": [(s, s) for s in spans],
        "same": [(s - c, c) if flip else (c, s - c) for c, s in zip(before, spans, strict=True)],
        "valid": [(0, 0)] * nd,
    }[shape]
    assume(all(n + sum(p) > s for n, p, s in zip(pair.x.shape, margins, spans, strict=True)))
    padded = padded_by("zeros" if boundary == "constant" else boundary, x, [(0, 0), *margins])
    taps = w.flip(tuple(range(2, w.ndim))) if flip else w
    expected = CONV[nd](torch.from_numpy(padded), taps, None, tuple(stride), 0, dilation, groups)
    options = {"stride": stride, "dilation": dilation, "groups": groups, "flip": flip}
    if shape == "same":
        options["anchor"] = anchor
    A = conv_matrix(w, pair.x.shape, shape, boundary, **options)
    exactly(A @ x.flatten(), expected.numpy())


@pytest.mark.filterwarnings("ignore:Using padding='same' with even")
@pytest.mark.parametrize(
    ("kernel", "dilation"), [((3, 3), 1), ((4, 2), 1), ((1, 6), 1), ((9, 8), 1), ((3, 5), 2)]
)
def test_same_is_torchs_same(kernel, dilation):
    w, x = torch.from_numpy(integers(*kernel)), torch.from_numpy(integers(5, 6, seed=1))
    A = conv_matrix(w, (5, 6), "same", dilation=dilation)
    expected = F.conv2d(x[None, None], w[None, None], padding="same", dilation=dilation)
    exactly(A @ x.flatten(), expected.numpy())


@pytest.mark.parametrize("shape", SHAPES)
def test_default_anchor_is_the_operators_padding(shape):
    w = torch.from_numpy(integers(2, 3, 4, 2))
    op = ConvOperator(w, (6, 5), padding=shape)
    assert torch.equal(conv_matrix(w, (6, 5), shape).to_dense(), op.to_dense())


def test_defaults():
    A = conv_matrix(torch.ones(2), (3,))
    assert A.layout == torch.sparse_csr
    assert A.to_dense().tolist() == [[1, 0, 0], [1, 1, 0], [0, 1, 1], [0, 0, 1]]


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_one_sample_and_a_wide_kernel(boundary):
    """Every tap but the middle one reads padding, several periods of it."""
    A = conv_matrix(torch.ones(9, dtype=F64), (1,), "same", boundary, layout="dense")
    assert A.tolist() == [[1.0 if boundary in ("zeros", "constant") else 9.0]]


def test_zeros_is_constant():
    w = torch.from_numpy(integers(3, 4))
    zeros, constant = (conv_matrix(w, (5, 5), "same", name) for name in ("zeros", "constant"))
    assert torch.equal(zeros.to_dense(), constant.to_dense())


# --- refusals -------------------------------------------------------------------------------------

K = torch.ones(3, 4)
REFUSED = [
    (lambda: conv_matrix(K, 5), TypeError, ["input_shape=5", "tuple"]),
    (lambda: conv_matrix(K, ()), ValueError, ["has 0 axes", "1, 2 or 3"]),
    (lambda: conv_matrix(K, (5, 0)), ValueError, ["input_shape=(5, 0)", "at least 1"]),
    (lambda: conv_matrix(K, (5, 5, 5)), ValueError, ["(3, 4)", "3 axes (*kernel) or 5 axes"]),
    (lambda: conv_matrix(K[None], (5, 5)), ValueError, ["(1, 3, 4)", "2 axes", "4 axes"]),
    (lambda: conv_matrix(K.numpy(), (5, 5)), TypeError, ["weight", "ndarray", "as_tensor"]),
    (lambda: conv_matrix(K.long(), (5, 5)), TypeError, ["weight", "int64", ".float()"]),
    (lambda: conv_matrix(K, (5, 5), "sane"), ValueError, ["shape='sane'", *SHAPES]),
    (
        lambda: conv_matrix(K, (5, 5), "same", "wrap"),
        ValueError,
        ["boundary='wrap'", *BOUNDARIES, "scipy.ndimage", "scipy.signal", "numpy"],
    ),
    (
        lambda: conv_matrix(K, (5, 5), "same", "wrpa"),
        ValueError,
        ["boundary='wrpa'", *BOUNDARIES],
    ),
    (
        lambda: conv_matrix(K, (5, 5), convention="scipy"),
        ValueError,
        ["convention='scipy'", *CONVENTIONS],
    ),
    (
        lambda: conv_matrix(K, (5, 5), convention="scipy.ndimage"),
        ValueError,
        ["scipy.ndimage has no shape='full'", "'same'"],
    ),
    (
        lambda: conv_matrix(K, (2, 5), "same", convention="numpy"),
        ValueError,
        ["exchanges kernel and data", "(3, 4)", "(2, 5)", "anchor"],
    ),
    (
        lambda: conv_matrix(K, (5, 5), "same", "symmetric", convention="matlab", flip=True),
        ValueError,
        ["conv2 has no boundary", "(3, 4)", "anchor"],
    ),
    (lambda: conv_matrix(K, (5, 5), layout="csc"), ValueError, ["layout='csc'", *LAYOUTS]),
    (lambda: conv_matrix(K, (5, 5), order="K"), ValueError, ["order='K'", "'C', 'F'"]),
    (
        lambda: conv_matrix(K, (5, 5), "full", anchor=1),
        ValueError,
        ["anchor=1 is for shape='same'", "'full'"],
    ),
    (
        lambda: conv_matrix(K, (5, 5), "same", anchor=(1, 4)),
        ValueError,
        ["anchor=(1, 4)", "kernel (3, 4)", "from 0", "middle is (1, 1)"],
    ),
    (lambda: conv_matrix(K, (5, 5), "same", anchor=-1), ValueError, ["anchor=-1", "at least 0"]),
    (lambda: conv_matrix(K, (5, 5), "same", anchor=(1,)), ValueError, ["1 entries", "2 axes"]),
    (lambda: conv_matrix(K, (5, 5), "same", anchor=1.0), TypeError, ["anchor=1.0", "integer"]),
    (lambda: conv_matrix(K, (2, 9), "valid"), ValueError, ["output would be empty", "spans 3"]),
    (lambda: conv_matrix(K, (5, 5), groups=2), ValueError, ["groups=2", "out_channels=1"]),
    (lambda: conv_matrix(K, (5, 5), "same", dilation=0), ValueError, ["dilation=0", "at least 1"]),
    (
        lambda: conv_matrix(K, (10**5, 10**5)),
        MemoryLimitError,
        ["× 10000000000 matrix", "120000000000 entries", "1.52e+03 GB", "memory_limit=4.29 GB"],
    ),
]


@pytest.mark.parametrize(("call", "kind", "parts"), REFUSED)
def test_refused(call, kind, parts):
    with pytest.raises(kind) as error:
        call()
    assert_says(error, *parts)


def test_unknown_keywords_are_errors():
    with pytest.raises(TypeError, match="padding"):
        conv_matrix(K, (5, 5), padding=1)
