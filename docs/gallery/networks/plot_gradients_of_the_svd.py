"""
NaN gradients of the SVD
========================

Where singular values are equal the singular vectors are not unique, and the backward of
``torch.linalg.svd`` divides by their difference. Functions that do not depend on the choice of the
vectors, such as thresholding of singular values, have a gradient all the same.
"""

import matplotlib.pyplot as plt
import torch

import unconv

A = torch.diag(torch.tensor([3.0, 3.0], dtype=torch.float64)).requires_grad_()
weights = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64)


def svt(A, tau=1.0):
    """U max(S − τ, 0) Vᴴ, composed of the SVD of torch."""
    U, S, Vh = torch.linalg.svd(A, full_matrices=False)
    return (U * (S - tau).clamp(min=0)) @ Vh


# %%
# The gradient of a sum of its entries, each with a weight, by both:

for name, function in (("torch.linalg.svd", svt), ("unconv.linalg.svt", unconv.linalg.svt)):
    (gradient,) = torch.autograd.grad((weights * function(A, 1.0)).sum(), A)
    print(f"{name:18}", gradient.tolist())

# %%
# Finite differences agree with the second:

step = 1e-6
numeric = torch.zeros(2, 2, dtype=torch.float64)
for i in range(2):
    for j in range(2):
        E = torch.zeros(2, 2, dtype=torch.float64)
        E[i, j] = step
        change = svt(A.detach() + E) - svt(A.detach() - E)
        numeric[i, j] = (weights * change).sum() / (2 * step)
print("finite differences", [[round(v, 6) for v in row] for row in numeric.tolist()])

# %%
# Near a tie there is no NaN, but digits are lost: the error of each gradient, by the distance of
# two values.

gaps = torch.logspace(-15, -1, 43, dtype=torch.float64)
Q = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64, generator=torch.manual_seed(0)))[0]
W = torch.randn(5, 5, dtype=torch.float64, generator=torch.manual_seed(1))
errors = {"torch.linalg.svd": [], "unconv.linalg.svt": []}
for gap in gaps:
    values = torch.tensor([4.0, 3.0, 3.0, 2.0, 0.5], dtype=torch.float64)
    values[1] += gap
    B = (Q * values @ Q.flip(0).T).requires_grad_()
    found = [torch.autograd.grad((W * f(B, 1.0)).sum(), B)[0] for f in (svt, unconv.linalg.svt)]
    size = found[1].norm()
    direction = torch.randn(5, 5, dtype=torch.float64, generator=torch.manual_seed(2))
    t = 1e-5
    ahead, behind = (unconv.linalg.svt(B.detach() + s * direction, 1.0) for s in (t, -t))
    slope = (W * (ahead - behind)).sum() / (2 * t)
    for name, gradient in zip(errors, found, strict=True):
        errors[name].append(float(((gradient * direction).sum() - slope).abs() / size))

fig, axis = plt.subplots(figsize=(7, 3.8), layout="constrained")
for name, error in errors.items():
    axis.loglog(gaps, error, label=name)
axis.set(xlabel="distance of two singular values", ylabel="error of the gradient")
axis.legend()

# %%
# ``unconv.linalg`` has ``svt``, ``pinv`` and ``spectral_apply`` for any function of the singular
# values: use these, not products of U, S and Vᴴ, wherever values may coincide.
