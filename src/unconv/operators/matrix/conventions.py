"""In whose words a boundary is named, and which tap of an even kernel is its middle.

A name means different things in different libraries (`reflect` repeats the edge sample in
scipy.ndimage and nowhere else), and so does the middle of an even kernel.  A `Convention` holds
what one library says; `conv_matrix` translates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from ...grid.modes import MODES
from ...numerics.checks import check_choice

SHAPES = ("full", "same", "valid")


class Convention(NamedTuple):
    """The words of one library."""

    boundaries: Mapping[str, str]  # its names, the default first -> padding_mode of torch.nn
    middle: Callable[[int, int, bool], int]  # k taps, spatial axes, flip -> tap over sample i
    order: str = "C"  # how it makes a vector of a picture
    conjugates: bool = False  # whether its correlations take the complex conjugate of the kernel
    shapes: tuple[str, ...] = SHAPES  # which outputs its functions have


def _before(k: int, nd: int, flip: bool) -> int:
    return (k - 1) // 2


def _behind(k: int, nd: int, flip: bool) -> int:
    return k // 2


def _of_signal(k: int, nd: int, flip: bool) -> int:
    """`convolve2d` and `correlate2d`; `convolve` and `correlate` of one and three axes."""
    return (k - 1) // 2 if flip or nd == 2 else k // 2


def _of_numpy(k: int, nd: int, flip: bool) -> int:
    return (k - 1) // 2 if flip else k // 2


def _of_matlab(k: int, nd: int, flip: bool) -> int:
    """`conv2`; `imfilter`."""
    return k // 2 if flip else (k - 1) // 2


CONVENTIONS = {
    "torch": Convention({name: name for name in MODES} | {"constant": "zeros"}, _before),
    "scipy.signal": Convention(
        {"fill": "zeros", "wrap": "circular", "symm": "symmetric"}, _of_signal, conjugates=True
    ),
    "scipy.ndimage": Convention(
        {
            "reflect": "symmetric",
            "grid-mirror": "symmetric",
            "constant": "zeros",
            "grid-constant": "zeros",
            "nearest": "replicate",
            "mirror": "reflect",
            "wrap": "circular",
            "grid-wrap": "circular",
        },
        _behind,
        conjugates=True,
        shapes=("same",),
    ),
    "numpy": Convention(
        {
            "constant": "zeros",
            "edge": "replicate",
            "reflect": "reflect",
            "symmetric": "symmetric",
            "wrap": "circular",
        },
        _of_numpy,
        conjugates=True,
    ),
    "matlab": Convention(
        {
            "0": "zeros",
            "circular": "circular",
            "replicate": "replicate",
            "symmetric": "symmetric",
        },
        _of_matlab,
        order="F",
    ),
}
"""By the name of the library; 'torch' is the convention of this one."""


def named(convention: str) -> Convention:
    """The convention of a library, or one sentence."""
    return CONVENTIONS[check_choice("convention", convention, tuple(CONVENTIONS))]


def padding_mode_of(boundary: str | None, convention: str) -> str:
    """What torch.nn calls this boundary of a library; of None, the library's default.

    Examples
    --------
    >>> padding_mode_of("reflect", "torch"), padding_mode_of("reflect", "scipy.ndimage")
    ('reflect', 'symmetric')
    """
    words = named(convention).boundaries
    if boundary is None:
        return next(iter(words.values()))
    if isinstance(boundary, str) and boundary not in words:
        others = [name for name, one in CONVENTIONS.items() if boundary in one.boundaries]
        if others:
            ours = ", ".join(map(repr, words))
            raise ValueError(
                f"boundary={boundary!r} is no word of convention={convention!r}, which has {ours}; "
                f"it is one of convention={' or '.join(map(repr, others))}."
            )
    return words[check_choice("boundary", boundary, tuple(words))]


def check_middle(
    kernel: Sequence[int], sizes: Sequence[int], mode: str, convention: str, flip: bool
) -> None:
    """Refuse shape='same' where the library has no such function, or answers something else."""
    if convention == "numpy" and any(k > n for k, n in zip(kernel, sizes, strict=True)):
        raise ValueError(
            f"numpy's shape='same' exchanges kernel and data where the kernel {tuple(kernel)} is "
            f"larger than the data {tuple(sizes)}; exchange them, or give anchor."
        )
    even = any(k % 2 == 0 for k in kernel)
    if convention == "matlab" and flip and even and mode != "zeros":
        raise ValueError(
            "matlab's conv2 has no boundary but zeros, and the middle of the even kernel "
            f"{tuple(kernel)} is not told for others; give anchor."
        )
