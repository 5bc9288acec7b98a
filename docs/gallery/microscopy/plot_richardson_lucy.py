"""
When to stop Richardson–Lucy
============================

The likeliest image of noisy counts is noise. Richardson–Lucy is used all the same, because it comes
past good images on its way; the question is where to stop. Two rules that do not know the truth,
beside the best step.
"""

import matplotlib.pyplot as plt
import torch
from skimage import data

import unconv
from unconv import psf

# %%
# A histology slide as counts, 100 in the brightest pixel.

scene = 1 - torch.from_numpy(data.immunohistochemistry()[80:240, 200:360, 1] / 255.0)[None, None]
scene = 100 * scene / scene.max()
weight = psf.gaussian(2.0)[None, None]
A = unconv.ConvOperator(weight, scene.shape[2:], padding="same", padding_mode="circular", flip=True)
counts = torch.poisson(A(scene).clamp(min=0), torch.manual_seed(0))

errors = []
unconv.richardson_lucy(
    A,
    counts,
    maxiter=25,
    stop=None,
    callback=lambda step, x: errors.append(float((x - scene).norm() / scene.norm())),
)
rules = {rule: unconv.richardson_lucy(A, counts, stop=rule) for rule in ("discrepancy", "thinning")}

# %%
# *Discrepancy* stops where the data fit as well as they would fit the truth. *Thinning* holds one
# count in five back and stops where these are predicted best.

fig, (axis, *pictures) = plt.subplots(
    1, 4, figsize=(12, 3.2), layout="constrained", width_ratios=(1.5, 1, 1, 1)
)
axis.plot(range(1, len(errors) + 1), errors, "k")
for (rule, found), colour in zip(rules.items(), ("C0", "C3"), strict=True):
    axis.axvline(int(found.iterations), color=colour, label=f"stop={rule!r}")
axis.set(xlabel="step (accelerated)", ylabel="relative error", ylim=(0.08, 0.35))
axis.legend()
late = unconv.richardson_lucy(A, counts, maxiter=25, stop=None).solution
shown = {"counts": counts, "by thinning": rules["thinning"].solution, "25 steps": late}
for axis, (title, picture) in zip(pictures, shown.items(), strict=True):
    axis.imshow(picture[0, 0], cmap="magma", vmin=0, vmax=100)
    axis.set_title(title)
    axis.axis("off")
