"""Vector extrapolation of a fixed-point iteration: a step ahead along the last change.

    p = x + α (x − x₋),   α = ⟨g, g₋⟩ / ⟨g₋, g₋⟩ in [0, 1],   x = step(p₋), g = x − p₋

g is what a step changes at the point where it is taken; where changes hardly differ from one step
to the next, α is near 1 and momentum builds up.  n plain steps cost about √n to 2√n such ones.
Where a pixel would fall below a tenth of the step's own value it is held there: a zero could never
grow again under a multiplicative step.

Source: Biggs & Andrews, "Acceleration of iterative image restoration algorithms", Applied Optics
36 (1997), first-order extrapolation; the safeguard against a fall of the likelihood is the
caller's.
"""

from __future__ import annotations

from torch import Tensor

from .count_data import per_image, total_of

LEAST_KEPT = 0.1


class Extrapolation:
    """The last step and the last change of every image.

    unit : (N, 1, …), the size of what changes, so that no square of it is too small or too large
    """

    def __init__(self, unit: Tensor) -> None:
        self.unit = unit.where(unit > 0, 1)
        self.step: Tensor | None = None
        self.change: Tensor | None = None

    def ahead(self, start: Tensor, step: Tensor) -> Tensor:
        """The next point to step from, after a step from `start`; nowhere below zero."""
        change, ahead = (step - start) / self.unit, step
        if self.step is not None and self.change is not None:
            alpha = total_of(change * self.change) / total_of(self.change.square())
            alpha = alpha.nan_to_num(0, 0, 0).clamp(0, 1)  # 0/0 where nothing changes any more
            ahead = step + per_image(alpha, step) * (step - self.step)
            ahead = ahead.maximum(LEAST_KEPT * step)
        self.step, self.change = step, change
        return ahead

    def restart(self, images: Tensor) -> None:
        """Forget the change of some images, (N,) bool, so that their next step is a plain one."""
        if self.change is not None:
            self.change = self.change.where(~per_image(images, self.change), 0)
