"""
Adjoint and transposed convolution
==================================

``F.conv_transpose2d`` is the adjoint of ``F.conv2d`` only if padding, stride and ``output_padding``
are right for the size of the input, which the output does not tell. ``A.H`` knows the size, in any
dimension.
"""

from functools import partial

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F

import unconv

torch.manual_seed(0)


def defect(A, adjoint):
    """|⟨Ax, y⟩ − ⟨x, adjoint(y)⟩| / |⟨Ax, y⟩|, or why it cannot be computed."""
    x = torch.randn(1, *A.domain_shape, dtype=torch.float64)
    y = torch.randn(1, *A.range_shape, dtype=torch.float64)
    back = adjoint(y)
    if back.shape != x.shape:
        return f"shape {tuple(back.shape[2:])} for {tuple(x.shape[2:])}"
    forward = (A(x) * y).sum()
    return f"{float((forward - (x * back).sum()).abs() / forward.abs()):.0e}"


# %%
# Two dimensions, several sizes and strides. Without ``output_padding`` the transposed convolution
# returns another size for half of the inputs.

K = torch.randn(4, 3, 3, 3, dtype=torch.float64)
print("size  stride   A.H      conv_transpose2d(y, K, stride, padding)")
for n in (15, 16):
    for stride in (1, 2, 3):
        A = unconv.ConvOperator(K, (n, n), stride=stride, padding=1)
        theirs = defect(A, partial(F.conv_transpose2d, weight=K, stride=stride, padding=1))
        print(f"{n:4}{stride:8}   {defect(A, A.H):8} {theirs}")

# %%
# Three dimensions, and boundaries of which a transposed convolution knows nothing:

V = torch.randn(2, 2, 3, 3, 3, dtype=torch.float64)
for mode in ("zeros", "circular", "reflect", "replicate"):
    A = unconv.ConvOperator(V, (8, 9, 10), stride=(1, 2, 2), padding=1, padding_mode=mode)
    print(f"{mode:10} A.H {defect(A, A.H)}")

# %%
# A bias makes a layer affine, and its adjoint is that of the linear part. The gradient of
# ½‖layer(x) − y‖² is Aᴴ(layer(x) − y), and has a method of its own; autograd confirms it:

layer = torch.nn.Conv2d(3, 4, 3, stride=2, padding=1, dtype=torch.float64)
A = unconv.ConvOperator.from_module(layer, input_shape=(16, 16))
x = torch.randn(2, 3, 16, 16, dtype=torch.float64, requires_grad=True)
y = torch.randn(2, 4, 8, 8, dtype=torch.float64)
(gradient,) = torch.autograd.grad(0.5 * (layer(x) - y).square().sum(), x)
print("equal:", torch.allclose(A.residual_gradient(x, y), gradient))

# %%
# As matrices, for one channel of 6 × 6 under ``padding_mode="reflect"`` and a stride of 2. The
# transposed convolution returns 5 × 5, and does not know that the padding copies samples.

k = torch.arange(1.0, 10, dtype=torch.float64).reshape(1, 1, 3, 3)
A = unconv.ConvOperator(k, (6, 6), stride=2, padding=1, padding_mode="reflect")
units = torch.eye(9, dtype=torch.float64).reshape(9, 1, 3, 3)
theirs = F.conv_transpose2d(units, k, stride=2, padding=1).flatten(1).T
matrices = {"A": A.to_dense(), "Aᴴ": A.H.to_dense(), "conv_transpose2d": theirs}
fig, axes = plt.subplots(1, 3, figsize=(9, 4), layout="constrained", width_ratios=(36, 9, 9))
for axis, (name, matrix) in zip(axes, matrices.items(), strict=True):
    axis.imshow(matrix, cmap="Blues")
    axis.set(title=name, xticks=[], yticks=[])
    axis.set_xlabel(f"{matrix.shape[0]} × {matrix.shape[1]}")
