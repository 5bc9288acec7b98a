"""Spectra of missing rows: those of the FFT, whichever channels have lines alone."""

import pytest
import torch

from unconv.grid.torus import Torus
from unconv.inverse.completion.missing import MissingOutputs
from unconv.regularize.natural_edges.line_spectra import LineSpectra

F64, C128 = torch.float64, torch.complex128
FRAMES = {1: [(0, 9)], 2: [(0, 7), (0, 9)], 3: [(0, 5), (0, 6), (0, 7)]}


def places(sizes, groups):
    """Channels that miss a frame and a hole, crossing lines of each axis, lines of the last."""
    frame = FRAMES[len(sizes)]
    unseen = torch.zeros(2, 3, *sizes, dtype=torch.bool)
    for axis, (_, end) in enumerate(frame):
        unseen.movedim(2 + axis, 0)[end:, :, 0] = True
        unseen.movedim(2 + axis, 0)[-1, :, 1] = True
    unseen[:, 0, *(2 for _ in sizes)] = True
    unseen[..., -2:].select(1, 2).fill_(True)
    unseen = unseen[:groups].flatten(0, 1)
    return MissingOutputs(unseen, groups, [[(0, n - 2) for n in sizes]] * len(unseen)), unseen


@pytest.mark.parametrize("sizes", [(12,), (10, 12), (9, 11), (8, 8, 10)], ids=str)
@pytest.mark.parametrize("dtype", [F64, C128], ids=["real", "complex"])
@pytest.mark.parametrize("groups", [1, 2])
def test_against_the_fft_of_the_grid(sizes, dtype, groups):
    torus = Torus(sizes, tuple(1 for _ in sizes), dtype == F64)
    missing, unseen = places(sizes, groups)
    spectra = LineSpectra(torus, missing)
    assert bool(spectra.lines) == (len(sizes) > 1)
    u = torch.randn(2, len(missing), dtype=dtype)
    image = u.new_zeros(2, *unseen.shape)
    image[:, unseen] = u
    expected = torus.transform(image)
    Y = spectra.spectrum(u, spectra.room(u))
    assert (Y - expected).abs().max() < 1e-12 * expected.abs().max()
    whole = torch.randn(2, *unseen.shape, dtype=dtype)
    read = spectra.image(torus.transform(whole))
    assert (read - whole[:, unseen]).abs().max() < 1e-12 * whole.abs().max()


def test_single_precision_stays_single():
    torus = Torus((10, 12), (1, 1), True)
    missing, _ = places((10, 12), 1)
    spectra = LineSpectra(torus, missing)
    u = torch.randn(1, len(missing))
    Y = spectra.spectrum(u, spectra.room(u))
    assert Y.dtype == torch.complex64
    read = spectra.image(Y)
    assert read.dtype == torch.float32
    assert torch.allclose(read, u, atol=1e-5)
