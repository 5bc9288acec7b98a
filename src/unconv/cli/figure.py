"""The demo's figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import IO, TYPE_CHECKING, Any

from torch import Tensor

from ..pictures import restoration as library

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Corner = tuple[slice, slice]


@dataclass(frozen=True)
class Trial:
    """A photograph blurred as by a camera, and restored under two boundaries.

    Attributes
    ----------
    shown : planes (C, H, W) of the 'original', 'blurred', 'circular' and 'valid'
    scores : of all but the original; PSNR in dB, SSIM
    seconds : of the restoration by 'valid'
    """

    picture: str
    psf: str
    psf_size: tuple[int, int]
    restored: library.Restored
    seconds: float
    shown: dict[str, Tensor]
    scores: dict[str, dict[str, float]]

    def facts(self) -> dict[str, Any]:
        """What is reported of it."""
        certificate = self.restored.certificate
        return {
            "picture": self.picture,
            "psf": self.psf,
            **self.scores,
            "noise": self.noise,
            "method": certificate.method,
            "iterations": certificate.iterations.tolist(),
            "seconds": self.seconds,
            "error_bound": certificate.error_bound.tolist(),
            "equations_solved": self.solved,
        }

    @property
    def noise(self) -> str:
        """What was read of the noise."""
        return "" if self.restored.data is None else self.restored.data.noise[0]

    @property
    def solved(self) -> bool:
        """Whether the equations are proven to be solved to the library's tolerance."""
        return bool((self.restored.certificate.error_bound <= library.TOL).all())


def comparison(file: IO[bytes], title: str, trial: Trial) -> None:
    """Draw one trial into a PNG: the pictures above, one corner of each enlarged below."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    figure = Figure(figsize=(14, 8.4), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=13, parse_math=False)  # psf names may hold dollars
    axes = figure.subplots(2, len(trial.shown))
    rows, columns = corner = _corner(trial.shown["original"], 8 * max(trial.psf_size))
    for column, (name, planes) in enumerate(trial.shown.items()):
        whole, enlarged = axes[:, column]
        _show(whole, planes)
        box = columns.start - 0.5, rows.start - 0.5
        side = columns.stop - columns.start, rows.stop - rows.start
        whole.add_patch(Rectangle(box, *side, fill=False, edgecolor="yellow", linewidth=1.2))
        whole.set_title(_heading(name, trial.scores.get(name)), fontsize=11)
        _show(enlarged, planes, corner)
    figure.savefig(file, format="png")


def overview(file: IO[bytes], title: str, trials: Sequence[Trial]) -> None:
    """Draw many trials into a PNG: a row for a picture, a group for a psf; one corner of each."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    pictures = list(dict.fromkeys(t.picture for t in trials))
    psfs = list(dict.fromkeys(t.psf for t in trials))
    names = list(trials[0].scores)
    figure = Figure(figsize=(6 * len(psfs), 0.8 + 2.5 * len(pictures)), dpi=110)
    figure.set_layout_engine("constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=13)
    groups = figure.subfigures(1, len(psfs), wspace=0.02, squeeze=False)[0]
    side = 8 * max(max(t.psf_size) for t in trials)
    for psf, group in zip(psfs, groups, strict=True):
        group.suptitle(psf, fontsize=12)
        axes = group.subplots(len(pictures), len(names), squeeze=False)
        for trial in (t for t in trials if t.psf == psf):
            row = axes[pictures.index(trial.picture)]
            corner = _corner(trial.shown["original"], side)
            for name, ax in zip(names, row, strict=True):
                _show(ax, trial.shown[name], corner)
                scores = trial.scores[name]
                numbers = f"{scores['psnr']:.1f} ({scores['psnr_edges']:.1f})"
                ax.set_title(f"{name}\n{numbers}", fontsize=9)
    figure.savefig(file, format="png")


def _heading(name: str, scores: dict[str, float] | None) -> str:
    if scores is None:
        return f"{name}\n\n"
    whole = f"{scores['psnr']:.2f} dB, SSIM {scores['ssim']:.3f}"
    return f"{name}\n{whole}\n{scores['psnr_edges']:.2f} dB near the edges"


def _show(ax: Axes, planes: Tensor, part: Corner = (slice(None), slice(None))) -> None:
    pixels: Any = planes.clamp(0, 1).permute(1, 2, 0).numpy()[part]
    ax.imshow(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels, cmap="gray", vmin=0, vmax=1)
    ax.set_axis_off()


def _corner(planes: Tensor, side: int) -> Corner:
    """The corner with the most contrast, at most half of the picture."""
    grey = planes.mean(0)
    H, W = grey.shape
    side = max(1, min(side, H // 2, W // 2))
    corners = product(
        (slice(0, side), slice(H - side, H)),
        (slice(0, side), slice(W - side, W)),
    )
    return max(corners, key=lambda part: float(grey[part].var(correction=0)))
