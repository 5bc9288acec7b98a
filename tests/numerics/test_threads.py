"""Factoring leaves the process as it was."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from unconv import ConvOperator

from ..helpers import near_identity, randn

HEALTHY = """
import torch, unconv
before = torch.get_num_threads()
op = unconv.ConvOperator(
    torch.randn(3, 3, 3, 3).double(), (32, 32), padding=1, padding_mode="circular"
)
op.pinv()
assert torch.get_num_threads() == before
b = torch.randn(2, 150, 150).double()
x = torch.linalg.solve(b, b.mH)
assert float((b @ x - b.mH).norm() / b.norm()) < 1e-8
large = unconv.ConvOperator(
    torch.randn(160, 160, 3, 3).double(), (3, 3), padding=1, padding_mode="circular"
)
for _ in range(3):
    large.pinv()
"""


def test_lapack_works_after_a_factorisation():
    """In a process with its own number of threads; the tests themselves run on one."""
    run = subprocess.run(
        [sys.executable, "-c", HEALTHY], capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr


ALONE = """
import torch
from unconv.numerics.threads import one_thread
before = torch.get_num_threads()
x = torch.randn(90, 80, 70)
try:
    with one_thread():
        assert torch.get_num_threads() == 1
        once, again = torch.fft.rfftn(x), torch.fft.rfftn(x)
        assert torch.equal(torch.view_as_real(once), torch.view_as_real(again))
        raise KeyError
except KeyError:
    assert torch.get_num_threads() == before
b = torch.randn(2, 150, 150).double()
assert float((b @ torch.linalg.solve(b, b.mH) - b.mH).norm() / b.norm()) < 1e-8
"""


def test_a_block_of_one_thread_leaves_the_process_as_it_was():
    run = subprocess.run(
        [sys.executable, "-c", ALONE], env={**os.environ, "OMP_NUM_THREADS": "2"},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("method", ["fourier", "dense"])
def test_inference_mode(method):
    op = ConvOperator(near_identity(2, 2, 3), (8,), padding=1, padding_mode="circular")
    y = randn(1, 2, 8)
    expected = op.pinv(method=method)(y)
    with torch.inference_mode():
        inverse = op.pinv(method=method)
        inside = ConvOperator(op.weight * 1, (8,), padding=1, padding_mode="circular").pinv()
        assert torch.equal(inverse(y), expected)
        assert op.lstsq(y, method=method).certificate.converged.all()
    torch.testing.assert_close(inside(y), expected)
    y.requires_grad_()
    inverse(y).sum().backward()  # the factor is an ordinary tensor
