"""
Few photons
===========

Where light is scarce the noise is that of counting, and it is not the same everywhere. Say so, and
the dark parts are believed more than the bright ones. The background is a part of the mean, not to
be subtracted.
"""

import matplotlib.pyplot as plt
import torch
from skimage import data
from skimage.color import rgb2hed

import unconv
from unconv import psf

# %%
# Stained nuclei, out of focus, as 60 photons in the brightest pixel over a background of 4.

stain = rgb2hed(data.immunohistochemistry()[40:260, 240:460])[..., 0]
scene = torch.from_numpy(stain - stain.min())[None, None]
scene = 60 * scene / scene.max()
lens = psf.disk(3)
A = unconv.ConvOperator(lens[None, None], scene.shape[2:], flip=True)
counts = torch.poisson(A(scene) + 4, torch.manual_seed(0))

# %%
# Two answers that know the law of counts: Richardson–Lucy, stopped where the fit is as close as
# that of the truth, and the prior of few cosines in each block.

cosines = unconv.restore(
    A, counts, prior="dct", noise_model="poisson", background=4, nonnegative=True
)
lucy = unconv.richardson_lucy(A, counts, background=4)
print("Richardson–Lucy stopped after", int(lucy.iterations), "steps, by", lucy.stopped_by[0])

reach = lens.shape[0] // 2
inner = (0, 0, slice(reach, -reach), slice(reach, -reach))
panels = {"counts": counts[0, 0] - 4}
panels |= {"Richardson–Lucy": lucy.solution[inner], "few cosines": cosines.solution[inner]}
panels["scene"] = scene[inner]
fig, axes = plt.subplots(1, 4, figsize=(11, 3.2), layout="constrained")
for axis, (title, picture) in zip(axes, panels.items(), strict=True):
    error = (picture - scene[inner]).square().mean().sqrt()
    axis.imshow(picture, cmap="magma", vmin=0, vmax=float(scene.max()))
    axis.set_title(f"{title}\nerror {error:.2f} photons" if error else title)
    axis.axis("off")
