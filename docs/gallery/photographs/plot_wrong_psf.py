"""
A psf that is wrong is noticed
==============================

With a wrong psf a restoration makes convincing edges in the wrong places. Whether a psf can be
right the picture tells: what is left of the data after restoring must look like noise.
"""

import warnings

import matplotlib.pyplot as plt
import torch
from skimage import data

from unconv import psf
from unconv.pictures import blur, deblur

scene = torch.from_numpy(data.coins()[20:270, 100:350] / 255.0)[None]
blurred = blur(scene, psf.disk(4), boundary="valid", noise_std=0.005)

guesses = {
    "disk of radius 4 (right)": psf.disk(4),
    "disk of radius 5": psf.disk(5),
    "motion of 9 pixels": psf.motion(9, 0),
}
fig, axes = plt.subplots(1, 3, figsize=(9, 3.6), layout="constrained")
for axis, (name, guess) in zip(axes, guesses.items(), strict=True):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the doubts are read from the answer instead
        found = deblur(blurred, guess, prior="wiener")
    print(f"{name}: {found.data.sentence}")
    for doubt in found.data.doubts:
        print("   ", doubt)
    axis.imshow(found.planes[0], cmap="gray", vmin=0, vmax=1)
    axis.set_title(
        f"{name}\n{'plausible' if found.data.psf_plausible else 'refused by the picture'}"
    )
    axis.axis("off")

# %%
# ``prior="wiener"`` was asked for, so each psf is used all the same. With ``prior="auto"``, the
# default, a picture that contradicts the psf is given back as it was, with the warning.
