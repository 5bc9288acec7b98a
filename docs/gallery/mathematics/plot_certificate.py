"""
What a certificate promises
===========================

Every least-squares answer comes with a bound of its error, computed from A and y alone. Here the
right answer is known, so that the promise can be looked at: no point lies above the diagonal.
"""

import matplotlib.pyplot as plt
import torch

import unconv

# %%
# Random operators of one to three channels, three boundaries and three damps, in two precisions:

generator = torch.Generator().manual_seed(0)
points = {}
for trial in range(90):
    dtype = (torch.float32, torch.float64)[trial % 2]
    c, k, n = 1 + trial % 3, 2 + trial % 4, 6 + trial % 5
    K = torch.randn(c, c, k, k, dtype=torch.float64, generator=generator)
    K[range(c), range(c), k // 2, k // 2] += float(6 * torch.rand(1, generator=generator))
    mode = ("zeros", "circular", "reflect")[trial % 3]
    A = unconv.ConvOperator(K.to(dtype), (n, n), padding=k // 2, padding_mode=mode)
    y = torch.randn(1, *A.range_shape, dtype=torch.float64, generator=generator).to(dtype)
    damp = (0.0, 1e-3, 0.3)[trial // 2 % 3]
    solution, certificate = A.lstsq(y, damp=damp)

    # the answer by a dense matrix in float64
    M = unconv.ConvOperator(
        K.to(dtype).double(), (n, n), padding=k // 2, padding_mode=mode
    ).to_dense()
    normal = torch.cat([M, damp * torch.eye(M.shape[1], dtype=M.dtype)])
    right = torch.cat([y.double().flatten(), torch.zeros(M.shape[1], dtype=M.dtype)])
    x = torch.linalg.pinv(normal, rtol=1e-12) @ right
    error = float((solution.double().flatten() - x).norm() / x.norm())
    points.setdefault(str(dtype), []).append((error, float(certificate.error_bound[0])))

fig, axis = plt.subplots(figsize=(5, 4.6), layout="constrained")
for name, pairs in points.items():
    errors, bounds = zip(*pairs, strict=True)
    axis.loglog(bounds, [max(e, 1e-18) for e in errors], ".", label=name)
axis.plot([1e-16, 1e-2], [1e-16, 1e-2], "k", lw=0.8)
axis.set(xlabel="error bound of the certificate", ylabel="true relative error")
axis.legend()
