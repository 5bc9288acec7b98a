"""The door: a volume of any size, in a file or an array, restored to an ome-zarr."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from .asked import Wanted
from .engine.process import Processed
from .engine.runner import Progress
from .prepare import MEMORY, Means, prepare


def deconvolve(
    volume: Any,
    psf: Tensor | NDArray[Any],
    out: str | Path,
    *,
    axes: str | None = None,
    voxel: Sequence[float] | None = None,
    psf_voxel: Sequence[float] | None = None,
    channel: int | str | None = None,
    time: int | None = None,
    prior: str = "auto",
    strength: float | None = None,
    nonnegative: bool = False,
    noise_model: str = "gaussian",
    noise_std: float | None = None,
    background: float | None = None,
    gain: float | None = None,
    tol: float = 1e-3,
    memory: float = MEMORY,
    workers: int = 1,
    scheduler: str | None = None,
    progress: Callable[[Progress], object] = lambda _: None,
) -> Processed:
    """Restore a volume larger than memory, tile by tile, to an error that is proven for the whole.

    By default x = argmin ½‖Ax − y‖² + ½λ(Σ_a w_a‖D_a x‖² + ε‖x − c‖²), A the true convolution with
    the psf of a scene that is larger than the data by a psf less one sample: what lies around the
    volume is unknown on all its sides.  Each time point and channel is a volume by itself.

    A call that was interrupted, in whatever way, goes on where it was when it is repeated; nothing
    is at `out` until all is done.

    Parameters
    ----------
    volume
        A path to Zarr, ome-zarr, TIFF, OME-TIFF, NPY or FITS, or a `numpy.ndarray`, `zarr.Array` or
        `dask.array.Array`; uint8, uint16, float32 or the like, axes among t, c, z, y, x.
    psf
        Real, of two or three axes as the volume has in space, its centre the sample n//2 of each;
        scaled to sum 1.
    out : the ome-zarr (0.5, Zarr 3) that is written, float32, with a pyramid
    axes : a letter for each axis of `volume`; by default what the file says, or zyx, or yx
    voxel : the distances of samples along z, y, x; by default what the file says, or all the same
    psf_voxel : those of the psf in the same unit; where they differ it is sampled anew
    channel, time
        The only channel (counted from 0, or its name if the file has names) and time point (from 0)
        to be restored; by default all of them.  `out` has no axis for what is chosen.
    prior
        'quadratic', linear (but for `nonnegative`) and proven, for noise_model='gaussian';
        'richardson-lucy' for counts;
        'tv', 'sparse' or 'hessian' as of `unconv.restore`, for both, tile by tile and without a
        bound; 'auto' for the first of these that fits the noise, with `nonnegative` and
        noise_model='gaussian' for 'tv'.
    strength
        λ of the prior; by default that of the least expected error.  With 'richardson-lucy' that of
        total variation beside it, as `tv` of `unconv.richardson_lucy`, by default none.
    nonnegative : no sample below zero (counts have none anyway)
    noise_model : 'gaussian', or 'poisson' where the values are counts
    noise_std, background
        The standard deviation of the noise, and what there is without light, in the unit of the
        volume; by default they are read from a sample of tiles.
    gain
        Of a camera, for noise_model='poisson': units of the volume for each photon, by default read
        from the variance of the noise where it is clearly not 1. The values are divided by it, and
        the answer is in the unit of the volume.
    tol
        Of the standard deviation of x, that the error may have (root mean square), proven for
        'quadratic'; other priors end where a pass moves x by less, or by 1 %.
    memory : bytes that this machine's workers may take together, or each worker of a scheduler
    workers : processes of one thread each; 1 for this process
    scheduler : address of a scheduler of dask.distributed, in the place of `workers`
    progress : called after every tile

    Returns
    -------
    Processed
        `reports` has for each volume what is proven and what was estimated.

    Raises
    ------
    VolumeError
        The input cannot be read, the output not be written, memory or disk are too small, or a
        worker was lost; one sentence says which, and the remedy.
    ValueError, TypeError
        An argument is out of range.

    Examples
    --------
    >>> import tempfile, torch
    >>> from unconv import psf, volumes
    >>> y = torch.rand(40, 48).numpy()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     done = volumes.deconvolve(y, psf.gaussian(1.5), f"{folder}/out.zarr", noise_std=0.1)
    >>> done.failed
    {}
    """
    wanted = Wanted(
        prior=prior,
        strength=strength,
        nonnegative=nonnegative,
        noise_model=noise_model,
        noise_std=noise_std,
        background=background,
        gain=gain,
        tol=tol,
    )
    prepared = prepare(
        volume,
        psf,
        wanted,
        axes=axes,
        voxel=voxel,
        psf_voxel=psf_voxel,
        channel=channel,
        time=time,
    )
    return prepared.run(Path(out), Means(memory, workers, scheduler), progress)
