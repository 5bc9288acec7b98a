"""Transforms of a periodic grid outside autograd, by the faster of two libraries.

The grid is as large as picture and padding need (129 for a 3×3 kernel on 128 samples), and may have
prime factors that FFTs do not like.  On a CPU, in two dimensions and with a largest prime factor
from 17 to 113, the pocketfft of SciPy needs down to a third of the time of MKL, which torch calls;
for all other sizes torch is the faster one.  pocketfft knows no gradients, so only methods that
autograd cannot see into come here.  scipy.fft is imported with the first such size.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .torus import Torus

_FACTORS = range(17, 114)
_LARGEST_FAST = 13


def transform(torus: Torus, y: Tensor) -> Tensor:
    """`torus.transform` of data on the whole grid, without gradients."""
    if not _pocketfft_is_faster(torus.coarse, y.device.type):
        return torus.transform(y)
    import scipy.fft

    run = scipy.fft.rfft2 if torus.real else scipy.fft.fft2
    return torch.from_numpy(run(_array(y), workers=torch.get_num_threads()))


def inverse_transform(torus: Torus, Y: Tensor) -> Tensor:
    """`torus.inverse_transform` to the whole grid, without gradients."""
    if not _pocketfft_is_faster(torus.coarse, Y.device.type):
        return torus.inverse_transform(Y)
    import scipy.fft

    run = scipy.fft.irfft2 if torus.real else scipy.fft.ifft2
    return torch.from_numpy(run(_array(Y), s=torus.coarse, workers=torch.get_num_threads()))


def _array(t: Tensor) -> np.ndarray[Any, Any]:
    return t.detach().resolve_conj().numpy()


@lru_cache(maxsize=256)
def _pocketfft_is_faster(sizes: tuple[int, ...], device_type: str) -> bool:
    if device_type != "cpu" or len(sizes) != 2:
        return False
    return max(map(largest_prime_factor, sizes)) in _FACTORS


def fast_size(n: int) -> int:
    """The smallest even size from n on without prime factors above 13; 1 for 1.

    Odd sizes take twice as long (MKL, single precision: 2,079² 25 ms, 2,080² 14 ms).
    """
    while n > 1 and (n % 2 or largest_prime_factor(n) > _LARGEST_FAST):
        n += 1
    return n


def largest_prime_factor(n: int) -> int:
    """The largest prime factor of n, which decides the cost of an FFT of n samples."""
    largest, p = 1, 2
    while p * p <= n:
        while n % p == 0:
            largest, n = p, n // p
        p += 1
    return max(largest, n)
