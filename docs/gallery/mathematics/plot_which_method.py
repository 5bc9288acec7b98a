"""
Which method, and what it costs
===============================

``print(A.plan())`` says how an operator will be inverted and why, before anything is allocated. The
time of the set-up and of one solve, measured for a layer of growing size:
"""

import time

import matplotlib.pyplot as plt
import torch

import unconv

torch.manual_seed(0)
K = torch.randn(4, 4, 3, 3, dtype=torch.float64)
print(unconv.ConvOperator(K, (64, 64), padding=1).plan())

# %%
# Times are those of the machine that built this page.

sizes = [16, 24, 32, 48, 64, 96, 128]
fig, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained", sharey=True)
for mode in ("circular", "zeros"):
    rows = []
    for n in sizes:
        A = unconv.ConvOperator(K, (n, n), padding=1, padding_mode=mode)
        y = torch.randn(1, 4, n, n, dtype=torch.float64)
        start = time.perf_counter()
        inverse = A.tikhonov(0.01, method=A.plan(damp=0.01).method)
        middle = time.perf_counter()
        for _ in range(3):
            inverse(y)
        rows.append((middle - start, (time.perf_counter() - middle) / 3, inverse.method))
    print(f"{mode:9}", [method for *_, method in rows])
    for axis, column in zip(axes, (0, 1), strict=True):
        axis.loglog([n * n for n in sizes], [row[column] for row in rows], ".-", label=mode)
for axis, title in zip(axes, ("set-up", "one solve"), strict=True):
    axis.set(title=title, xlabel="pixels", ylabel="seconds")
    axis.legend()
