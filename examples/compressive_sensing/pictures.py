"""Where pictures come from, and the patches that train the network.

By default the pictures that scikit-image, matplotlib and, where it is there, scikit-learn install:
no download.  Otherwise a folder, of whose pictures, by name, the last fifth is held out.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.cbook
import torch
from skimage import data
from torch import Tensor
from torch.nn.functional import avg_pool2d

from unconv.pictures.formats import read_picture

SUFFIXES = (".jpeg", ".jpg", ".npy", ".png", ".tif", ".tiff")
SHRINK = 2
_LEAST = 7  # side of the window of SSIM

_PHOTOGRAPHS = ("rocket", "motorcycle", "motorcycle right", "hopper", "china", "flower")
_OTHERS = ("retina", "immunohistochemistry", "hubble_deep_field")  # colours unlike those of scenes
_TEST = ("astronaut", "chelsea", "coffee")

Named = dict[str, Tensor]
"""Pictures (3, H, W), float32 in [0, 1], by name."""


class Pictures(NamedTuple):
    """What trains, what the covariance is measured in (some of it), and what is held out."""

    train: Named
    typical: Named
    test: Named


def load_pictures(folder: Path | None = None, shrink: int = SHRINK) -> Pictures:
    """Those of a folder, or the installed ones, each averaged over blocks of shrink × shrink.

    The installed photographs are large and smooth.  Halved, a patch of 32 × 32 shows more of a
    scene, as those of CIFAR do, and the held-out ones are near 256 × 256, as the published ones.
    They are few, so that each trains in three sizes.  The covariance is that of photographs, not
    that of a retina, tissue and the sky.
    """
    if folder is not None:
        train, test = (_shrunk(some, shrink) for some in _split(read_folder(folder)))
        return Pictures(train, train, test)
    photographs = {name: _photograph(name) for name in _PHOTOGRAPHS if _is_installed(name)}
    typical = _shrunk(photographs, shrink)
    train = typical | _shrunk(_installed(_OTHERS), shrink)
    for other in {max(shrink - 1, 1), shrink + 1} - {shrink}:
        train |= {f"{n}, 1/{other}": x for n, x in _shrunk(photographs, other).items()}
    return Pictures(train, typical, _shrunk(_installed(_TEST), shrink))


def has_all_pictures() -> bool:
    """Whether no package is missing that installs pictures for training."""
    return all(map(_is_installed, _PHOTOGRAPHS))


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
    if name in _SPECIAL:
        return _SPECIAL[name]()
    return _of_bytes(getattr(data, name)())


def _of_bytes(pixels: Any) -> Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255


def _is_installed(name: str) -> bool:
    return name not in _OF_SKLEARN or importlib.util.find_spec("sklearn") is not None


def _of_sklearn(name: str) -> Tensor:
    spec = importlib.util.find_spec("sklearn")
    assert spec is not None  # asked before, by _is_installed
    return _read(Path(spec.origin or "").parent / f"datasets/images/{name}.jpg")


_OF_SKLEARN = ("china", "flower")
_SPECIAL: dict[str, Callable[[], Tensor]] = {
    "hopper": lambda: _read(
        Path(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))
    ),
    "motorcycle": lambda: _of_bytes(data.stereo_motorcycle()[0]),
    "motorcycle right": lambda: _of_bytes(data.stereo_motorcycle()[1]),
    **{name: functools.partial(_of_sklearn, name) for name in _OF_SKLEARN},
}


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
