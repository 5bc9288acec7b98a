"""Where pictures come from, and the patches that train the network.

By default the photographs that scikit-image and matplotlib install: no download.  Otherwise a
folder, of whose pictures, by name, the last fifth is held out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib.cbook
import torch
from skimage import data
from torch import Tensor
from torch.nn.functional import avg_pool2d

from unconv.pictures.formats import read_picture

SUFFIXES = (".jpeg", ".jpg", ".npy", ".png", ".tif", ".tiff")
SHRINK = 2
_LEAST = 7  # side of the window of SSIM

_TRAIN = ("retina", "immunohistochemistry", "hubble_deep_field", "rocket", "motorcycle", "hopper")
_TEST = ("astronaut", "chelsea", "coffee")

Named = dict[str, Tensor]
"""Pictures (3, H, W), float32 in [0, 1], by name."""


class Pictures(NamedTuple):
    """What trains, and what is held out."""

    train: Named
    test: Named


def load_pictures(folder: Path | None = None, shrink: int = SHRINK) -> Pictures:
    """Those of a folder, or the installed ones, each averaged over blocks of shrink × shrink.

    The installed photographs are large and smooth.  Halved, a patch of 32 × 32 shows more of a
    scene, as those of CIFAR do, and the held-out ones are near 256 × 256, as the published ones.
    """
    if folder is None:
        train, test = _installed(_TRAIN), _installed(_TEST)
    else:
        train, test = _split(read_folder(folder))
    return Pictures(_shrunk(train, shrink), _shrunk(test, shrink))


def load_all(folder: Path | None = None, shrink: int = SHRINK) -> Named:
    """All pictures of a folder, or the installed ones that are held out."""
    return _shrunk(_installed(_TEST) if folder is None else read_folder(folder), shrink)


def read_folder(folder: Path) -> Named:
    """All pictures in a folder, in the order of their names; not those in folders inside it."""
    if not folder.is_dir():
        raise ValueError(f"pictures {str(folder)!r} is no folder; give one that holds pictures.")
    files = sorted(f for f in folder.iterdir() if f.suffix.lower() in SUFFIXES)
    if not files:
        raise ValueError(
            f"the folder {str(folder)!r} holds no pictures; put files ending in "
            f"{', '.join(SUFFIXES)} there."
        )
    return {file.name: _read(file) for file in files}


def draw_patches(pictures: Named, count: int, size: int, generator: torch.Generator) -> Tensor:
    """Patches (count, 3, size, size), every picture as likely, and every place in it."""
    stock = list(pictures.values())

    def draw(below: int) -> int:
        return int(torch.randint(below, (), generator=generator))

    patches = []
    for _ in range(count):
        picture = stock[draw(len(stock))]
        top, left = (draw(side - size + 1) for side in picture.shape[1:])
        patches.append(picture[:, top : top + size, left : left + size])
    return torch.stack(patches)


def check_patch_size(pictures: Named, size: int) -> None:
    """Refuse a picture that no patch fits into."""
    for name, picture in pictures.items():
        if size < 1 or min(picture.shape[1:]) < size:
            raise ValueError(
                f"patches of {size} × {size} do not fit into the picture {name!r} of "
                f"{tuple(picture.shape[1:])}; use another --patch, a smaller --shrink, or "
                "leave the picture out."
            )


def _split(pictures: Named) -> tuple[Named, Named]:
    names = list(pictures)
    if len(names) < 2:
        raise ValueError(
            f"one picture to train with and one to hold out are needed, got only {names[0]!r}; put "
            "a second one into the folder."
        )
    first = len(names) - max(1, len(names) // 5)
    return {n: pictures[n] for n in names[:first]}, {n: pictures[n] for n in names[first:]}


def _read(file: Path) -> Tensor:  # -> (3, H, W)
    planes = torch.from_numpy(read_picture(file).planes).float()
    if not bool(planes.isfinite().all()):
        raise ValueError(
            f"the picture {file.name!r} holds NaN or infinity; training needs every pixel, leave "
            "it out."
        )
    low, high = planes.aminmax()
    if low < 0 or high > 1:
        raise ValueError(
            f"the picture {file.name!r} must have values in [0, 1], got {float(low):g} to "
            f"{float(high):g}; scale it."
        )
    return planes.expand(3, -1, -1).contiguous()  # a grey picture has three equal colours


def _installed(names: Sequence[str]) -> Named:
    return {name: _photograph(name) for name in names}


def _photograph(name: str) -> Tensor:  # -> (3, H, W)
    if name == "hopper":
        return _read(Path(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)))
    pixels = data.stereo_motorcycle()[0] if name == "motorcycle" else getattr(data, name)()
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255


def _shrunk(pictures: Named, shrink: int) -> Named:
    if shrink < 1:
        raise ValueError(f"shrink must be at least 1, got {shrink}; 1 leaves pictures as they are.")
    for name, picture in pictures.items():
        if min(picture.shape[1:]) < _LEAST * shrink:
            raise ValueError(
                f"the picture {name!r} of {tuple(picture.shape[1:])} must have sides of at least "
                f"{_LEAST} pixels after averaging over blocks of {shrink}, for SSIM; use a smaller "
                "--shrink, or leave it out."
            )
    return {name: avg_pool2d(picture, shrink) for name, picture in pictures.items()}
