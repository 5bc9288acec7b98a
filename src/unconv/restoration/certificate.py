"""How well a restoration was solved, and what it took."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


class Step(NamedTuple):
    """A look at one image on the way.

    Attributes
    ----------
    iteration : how many iterations it has taken
    objective : the value of what is minimised; NaN for a denoiser, which minimises nothing known
    gap : relative duality gap, or an estimate that is not below it by much; NaN where unknown
    residual : fixed-point residual; NaN where it was not looked at
    """

    iteration: int
    objective: float
    gap: float
    residual: float


@dataclass(frozen=True)
class RestorationCertificate:
    """How close each image is to the solution of its problem, (N,) each unless said.

    It says how exactly the equations were solved, not how good the picture is.

    Attributes
    ----------
    method : str, 'splitting' or 'plug-and-play'
    objective : the value of the problem at the solution, in the unit of the data; NaN for a
        denoiser, which minimises nothing known
    bound : no image at all can have a smaller one (a proof); −inf where none is known
    gap : (objective − bound)/objective, inf where no bound is known or the objective is infinite
    residual : fixed-point residual: how far an iteration moves what the next depends on, relative
        to its size; NaN where the gap decided
    iterations, solves : numbers of iterations, and of exact solves for the bound
    converged : whether gap ≤ gap_tol; or, for counts, outliers and p < 1, of which the bound may be
        far off or unknown, whether residual ≤ gap_tol/10 and the objective is finite
    gap_tol : float, as asked for
    epsilon : ε of the problem, in the unit of AᴴA; 0 for a denoiser
    noise_std : (N,) standard deviation of the noise that was told or found, NaN where none was used
    finding : str, how it ended
    remedy : str, what helps where that was too soon, else ''
    """

    method: str
    objective: Tensor
    bound: Tensor
    gap: Tensor
    residual: Tensor
    iterations: Tensor
    solves: Tensor
    converged: Tensor
    gap_tol: float
    epsilon: Tensor
    noise_std: Tensor
    finding: str
    remedy: str

    @property
    def advice(self) -> str:
        """How it ended, and what helps where that was too soon, in one sentence."""
        return f"{self.finding}: {self.remedy}" if self.remedy else self.finding

    def __len__(self) -> int:
        """Number of images."""
        return len(self.iterations)


class Restoration(NamedTuple):
    """What `unconv.restore` returns.

    Attributes
    ----------
    solution : (N, *domain_shape)
    certificate : how well it was solved
    strength : (N,) float64, as given or chosen
    history : for each image the looks that were taken
    """

    solution: Tensor
    certificate: RestorationCertificate
    strength: Tensor
    history: list[list[Step]]
