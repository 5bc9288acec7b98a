"""A driver that needs no mathematics of ours: Jacobi's steps for a small blur, all by hand.

The scene is the data and a margin of one; x ← x + ω Aᵀ(y − A x), A a `valid` correlation.
"""

import itertools
from dataclasses import dataclass

import numpy as np

from unconv.volumes.tiling.stages import Answer, Constant
from unconv.volumes.tiling.tiles import shape_of, within


def valid(x, kernel):
    shape = [n - k + 1 for n, k in zip(x.shape, kernel.shape, strict=True)]
    out = np.zeros(shape, x.dtype)
    for at in itertools.product(*map(range, kernel.shape)):
        box = tuple(slice(i, i + n) for i, n in zip(at, shape, strict=True))
        out += kernel[at] * x[box]
    return out


@dataclass(frozen=True)
class Start:
    """The data on the scene, the margin continued by its edge."""

    write: str
    data_shape: tuple

    def __call__(self, tile, read):
        box = tuple(slice(max(c.start - 1, 0), min(c.stop - 1, n)) for c, n in self._axes(tile))
        box = tuple(
            slice(min(b.start, n - 1), max(b.stop, b.start + 1) if b.start < n else n)
            for b, n in zip(box, self.data_shape, strict=True)
        )
        part = np.nan_to_num(read("data", box).astype(np.float32), posinf=0, neginf=0)
        index = np.ix_(
            *(
                np.clip(np.arange(c.start - 1, c.stop - 1), 0, n - 1) - b.start
                for (c, n), b in zip(self._axes(tile), box, strict=True)
            )
        )
        x = part[index]
        return {self.write: x}, {"sum": float(x.sum(dtype=np.float64))}

    def bytes_for(self, tile):
        return 16 * int(np.prod(shape_of(tile.core)))

    def _axes(self, tile):
        return list(zip(tile.core, self.data_shape, strict=True))


@dataclass(frozen=True)
class Step:
    """One step, whose residual reaches two samples: a halo of that."""

    read: str
    write: str
    kernel: Constant
    data_shape: tuple

    def __call__(self, tile, read):
        x = read(self.read, tile.outer)
        box = tuple(
            slice(o.start, o.stop - 2) for o in tile.outer
        )  # of the data that A reaches from `outer`
        data = read("data", box).astype(np.float32)
        seen = np.isfinite(data)
        residual = np.where(seen, data, 0) - seen * valid(x, self.kernel.value)
        padded = np.pad(residual, 2)
        g = valid(padded, np.flip(self.kernel.value))
        inner = within(tile.core, tile.outer)
        new = (x + np.float32(0.5) * g)[inner]
        norm = float((g[inner].astype(np.float64) ** 2).sum())
        return {self.write: np.ascontiguousarray(new)}, {"g2": norm}

    def bytes_for(self, tile):
        return 60 * int(np.prod([n + 4 for n in shape_of(tile.outer)]))


class Toy:
    """Steps until there were enough, as a `Method` of the engine."""

    def __init__(self, axes=3, passes=3):
        self.margins = ((1, 1),) * axes
        self.halo = (2,) * axes
        self.passes = passes
        weights = np.array([0.25, 0.5, 0.25], np.float32)
        kernel = weights
        for _ in range(axes - 1):
            kernel = np.multiply.outer(kernel, weights)
        self.kernel = Constant(kernel)

    def arrays_for(self, core):
        return 2

    def bytes_for(self, tile):
        return Step("", "", self.kernel, ()).bytes_for(tile)

    def __call__(self, runner, tiling):
        shape = tuple(n - 2 for n in tiling.scene)
        runner.run("start", Start("x/0", shape), tiling, {"x/0": np.float32})
        norms = []
        for p in range(self.passes):
            work = Step(f"x/{p}", f"x/{p + 1}", self.kernel, shape)
            numbers = runner.run(f"step {p}", work, tiling, {f"x/{p + 1}": np.float32})
            norms.append(sum(n["g2"] for n in numbers))
            runner.drop(f"x/{p}")
        return Answer(f"x/{self.passes}", {"norms": norms})
