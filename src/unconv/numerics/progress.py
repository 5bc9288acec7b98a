"""How far the iterations of a solve have come, for who watches them.

The error falls by a constant factor in about as many steps, so the part of the way that is done is
one of logarithms: from what an image is above its aim at the first look to nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from torch import Tensor

Progress = Callable[[str, float | None], object]
"""Called as progress(step, fraction): what goes on, and how much of it is done, None if unknown."""


class Watch:
    """Tells a progress function how far the solve of a batch is, which goes part after part.

    A function that raises ends the solve.

    Parameters
    ----------
    say : the progress function
    method : name of what iterates
    images : of the whole batch

    Examples
    --------
    >>> import math, torch
    >>> watch = Watch(lambda step, fraction: print(step, fraction), "krylov", 2)
    >>> watch.begin(2)
    >>> watch.look(1, torch.tensor([100.0, 100.0]), 1e-4)
    krylov: step 1, error 1.0e-04 0.0
    >>> watch.look(2, torch.tensor([10.0]), 1e-5)  # the other image has ended
    krylov: step 2, error 1.0e-05 0.75
    >>> watch.end()
    krylov: done 1.0
    """

    def __init__(self, say: Progress, method: str, images: int) -> None:
        self.say, self.method, self.images = say, method, images
        self.before = self.count = 0  # images of parts that are done, and of this one
        self.first = self.most = 0.0

    def begin(self, count: int) -> None:
        """The next part of the batch: so many images."""
        self.before, self.count = self.before + self.count, count
        self.first = self.most = 0.0

    def look(self, step: int, above: Tensor, error: float) -> None:
        """After a step.

        above : (n,) estimates of how many times its aim the error of each image is that goes on
        error : the largest of these errors
        """
        left = float(above.nan_to_num(1.0, posinf=1.0).clamp(min=1.0).log().sum()) / self.count
        self.first = max(self.first, left)
        done = 1 - left / self.first if self.first else 1.0
        self.most = max(self.most, done)
        fraction = (self.before + self.count * self.most) / self.images
        self.say(f"{self.method}: step {step}, error {error:.1e}", fraction)

    def end(self) -> None:
        """After the last part."""
        self.say(f"{self.method}: done", 1.0)


def parts_of(batch: Iterable[Tensor], watch: Watch | None) -> Iterator[Tensor]:
    """The parts of a batch, of each of which the watch is told when its turn comes."""
    for part in batch:
        if watch is not None:
            watch.begin(len(part))
        yield part
    if watch is not None:
        watch.end()


def watch_of(progress: Progress | None, method: str, images: int) -> Watch | None:
    """What watches a solve of so many images, or None if nobody does."""
    return Watch(progress, method, images) if progress and images else None
