"""Oracles: A, D and N as matrices, summed up from the definition, and problems drawn at random."""

import itertools
import math

import torch


def psf(kind, shape, seed=0):
    """A psf of unit sum: Gaussian, a disk or ball, or measured (random and not negative)."""
    axes = torch.meshgrid(
        *(torch.linspace(-1, 1, k + 2, dtype=torch.float64)[1:-1] for k in shape), indexing="ij"
    )
    radius = sum(axis.square() for axis in axes).sqrt()
    if kind == "Gaussian":
        found = (-2.5 * radius.square()).exp()
    elif kind == "disk":
        found = (radius <= 1).double()
    else:
        found = torch.rand(
            *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
        )
    return found / found.sum()


def outputs_matrix(problem):
    """A, a row for each output, by the definition of a convolution."""
    k, n, scene = problem.psf.shape, problem.data_shape, problem.scene
    number = torch.arange(math.prod(scene)).view(scene)
    A = torch.zeros(math.prod(n), math.prod(scene), dtype=torch.float64)
    for row, at in enumerate(itertools.product(*map(range, n))):
        for tap in itertools.product(*map(range, k)):
            place = tuple(i + size - 1 - j for i, j, size in zip(at, tap, k, strict=True))
            A[row, number[place]] += problem.psf[tap]
    return A


def normal_matrix(problem, seen=None):
    """N = AᵀA + λ(Σ w_a D_aᵀD_a + ε), rows of A where `seen` alone."""
    A = outputs_matrix(problem)
    A = A if seen is None else A[seen.flatten()]
    scene = problem.scene
    eye = torch.eye(math.prod(scene), dtype=torch.float64).view(-1, *scene)
    N = A.mT @ A + problem.strength * problem.ridge * eye.flatten(1)
    for axis, weight in enumerate(problem.weights):
        D = eye.diff(dim=1 + axis).flatten(1).mT
        N += problem.strength * weight * D.mT @ D
    return N


def scene_of(shape, seed=0):
    """Something like a picture: sums of random numbers along each axis, of mean 3, and noise."""
    x = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    noise = 0.1 * x
    for axis in range(x.ndim):
        x = x.cumsum(axis)
        x = x - x.mean(axis, keepdim=True)
    return 3 + noise + x / max(1.0, float(x.abs().max()))


def minimiser(problem, y, level, seen=None):
    """x*, by a dense solve."""
    A = outputs_matrix(problem)
    A = A if seen is None else A[seen.flatten()]
    y = y.flatten() if seen is None else y[seen]
    b = A.mT @ (y - level * problem.psf.sum())
    return level + torch.linalg.solve(normal_matrix(problem, seen), b).view(problem.scene)
