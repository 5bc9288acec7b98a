"""deepinv's samplers and splittings on physics of operators whose boundary is no circle."""

from __future__ import annotations

import copy
import types

import numpy as np
import pytest
import torch

import unconv
from unconv.adapters import as_deepinv, deepinv_physics, pigdm_fidelity

from ..helpers import F64, assert_says, randn, relative


class Shrink(torch.nn.Module):
    """The best estimate where pictures are white with a variance of 1/16 around 1/2."""

    def forward(self, x, sigma, *_, **__):
        s = torch.as_tensor(sigma, dtype=x.dtype).reshape(-1, *[1] * (x.ndim - 1))
        return 0.5 + (x - 0.5) / (1 + 16 * s**2)


BLUR = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16
KINDS = {
    "valid": {},
    "zeros": {"padding": 1},
    "circular": {"padding": 1, "padding_mode": "circular"},
    "stride": {"stride": 2},
}


def blurred(deepinv, kind, size=16, kernel=BLUR, noise=0.02):
    """A physics, a picture and its data."""
    op = unconv.ConvOperator(kernel[None, None], (size, size), **KINDS.get(kind, {}))
    if kind == "mask":
        op = op.observed(randn(size - 2, size - 2) > -1.5)
    physics = as_deepinv(op, noise_model=deepinv.physics.GaussianNoise(noise))
    x = 0.5 + 0.25 * randn(2, 1, size, size, dtype=torch.float32)
    torch.manual_seed(0)
    return physics, x, physics(x)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channels", [(1, 1), (2, 3), (3, 2)])
def test_singular_vectors_are_those_of_the_matrix(deepinv, kind, channels):
    op = unconv.ConvOperator(randn(*channels, 3, 3), (6, 5), **KINDS[kind])
    physics, n = as_deepinv(op), op.shape[1]
    assert isinstance(physics, deepinv.physics.DecomposablePhysics)
    eye = torch.eye(n, dtype=F64)
    V, U = physics.V(eye).flatten(1).mT, physics.U(eye).flatten(1).mT
    assert relative(V @ V.mT, eye) < 1e-12
    assert relative((U * physics.mask) @ V.mT, op.to_dense()) < 1e-12
    x, y = randn(2, *op.domain_shape), randn(2, *op.range_shape, seed=1)
    assert relative(physics.V_adjoint(x), x.flatten(1) @ V) < 1e-12
    assert relative(physics.U_adjoint(y), y.flatten(1) @ U) < 1e-12
    assert physics.U_adjoint(y).shape == (2, n)
    for found in (physics, copy.deepcopy(physics)):
        assert relative(found.A(x), op(x)) == 0
        assert relative(found.A_A_adjoint(y), op(op.H(y))) < 1e-12
        assert relative(found.A_adjoint_A(x), op.gram(x)) < 1e-12
        assert relative(found.A_dagger(y), op.pinv()(y)) < 1e-12
    with torch.no_grad():
        op.weight.mul_(2)
    assert relative((U * physics.mask) @ V.mT, op.to_dense()) < 1e-10


@pytest.mark.parametrize("kind", ["valid", "circular", "stride"])
def test_ddrm_fits_the_data(deepinv, kind):
    physics, x, y = blurred(deepinv, kind)
    sampler = deepinv.sampling.DDRM(Shrink(), sigmas=np.linspace(1, 0, 30))
    found = sampler(y, physics, seed=1)
    assert found.shape == x.shape
    assert float((physics.A(found) - y).square().mean().sqrt()) < 0.08


@pytest.mark.parametrize("kind", ["valid", "zeros", "mask", "stride"])
def test_diffpir_and_plug_and_play_fit_the_data(deepinv, kind):
    motion = torch.eye(3) / 3  # no outer product: no singular vectors of large pictures
    physics, x, y = blurred(deepinv, kind, kernel=motion)
    seen = 1 if physics.maps.op.seen is None else physics.maps.op.seen
    fidelity = deepinv.optim.data_fidelity.L2()
    diffpir = deepinv.sampling.DiffPIR(Shrink(), fidelity, max_iter=12, sigma=0.02)
    for found in (
        diffpir(y, physics, seed=1, x_init=physics.A_dagger(y * seen) if kind != "mask" else x),
        _plug_and_play(deepinv, fidelity, y, physics, x),
    ):
        assert found.shape == x.shape
        assert float(((physics.A(found) - y) * seen).square().mean().sqrt()) < 0.08


def _plug_and_play(deepinv, fidelity, y, physics, x):
    prior = deepinv.optim.prior.PnP(denoiser=Shrink())
    z = torch.full_like(x, 0.5)
    for sigma in (0.3, 0.1, 0.03):
        z = fidelity.prox(prior.denoiser(z, sigma), y, physics, gamma=sigma**2 / 0.02**2)
    return z


@pytest.mark.parametrize("kind", ["valid", "zeros", "circular", "mask", "stride"])
def test_pigdm_solves_its_system(deepinv, kind):
    physics, _, y = blurred(deepinv, kind)
    op = physics.maps.op
    r_t2, sigma = torch.tensor([0.3, 0.02]), 0.05
    found = pigdm_fidelity(Shrink()).solve_inverse(physics, y, r_t2[:, None, None, None], sigma)
    A = op.to_dense().double()
    seen = 1 if op.seen is None else op.seen
    for i in range(2):
        gram = float(r_t2[i]) * A @ A.mT + sigma**2 * torch.eye(len(A), dtype=F64)
        exact = torch.linalg.solve(gram, (y[i] * seen).double().flatten()).reshape(y[i].shape)
        assert relative(found[i], exact * seen) < 1e-4


def test_pigdm_takes_other_physics_as_deepinv_does(deepinv):
    physics = deepinv.physics.Denoising(deepinv.physics.GaussianNoise(0.1))
    y = torch.rand(1, 1, 4, 4)
    ours, theirs = pigdm_fidelity(Shrink()), deepinv.sampling.PiGDMDataFidelity(Shrink())
    assert torch.equal(ours.grad(y, y, physics, 0.5), theirs.grad(y, y, physics, 0.5))


def test_pigdm_in_a_whole_sampler(deepinv):
    physics, x, y = blurred(deepinv, "valid")
    sampling = deepinv.sampling
    sampler = sampling.PosteriorDiffusion(
        pigdm_fidelity(),
        denoiser=Shrink(),
        sde=sampling.VarianceExplodingDiffusion(),
        solver=sampling.EulerSolver(torch.linspace(1, 1e-3, 12), rng=torch.Generator()),
    )
    found = sampler(y, physics, seed=1)
    assert found.shape == x.shape
    assert bool(found.isfinite().all())


def test_a_missing_torchvision_is_named(monkeypatch):
    class Missing(types.ModuleType):
        def __getattr__(self, name):
            raise ModuleNotFoundError("No module named 'torchvision'", name="torchvision")

    monkeypatch.setattr(
        deepinv_physics.importlib, "import_module", lambda name: Missing(name).anything
    )
    deepinv_physics._physics_classes.cache_clear()
    deepinv_physics._pigdm_class.cache_clear()
    for call in (lambda: as_deepinv(unconv.ConvOperator(randn(1, 1, 3), (8,))), pigdm_fidelity):
        with pytest.raises(ImportError) as error:
            call()
        assert_says(error, "deepinv imports torchvision", "stand-in module")
    assert "pip install deepinv" not in str(error.value)
