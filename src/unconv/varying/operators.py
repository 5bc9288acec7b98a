"""`ProductConvolution` and `ConvolutionProduct`: blurs whose psf varies over the field."""

from __future__ import annotations

import torch
from torch import Tensor

from ..inverse import LstsqResult
from ..numerics.checks import check_all_finite, check_count, check_number
from ..numerics.compiled import outside_graphs
from ..numerics.precision import result_dtype
from ..operators.images import is_alone
from .blur import VaryingBlur
from .inverse import TOL, VaryingInverse, certify


class _Doors(VaryingBlur):
    """What undoes a varying blur."""

    @outside_graphs
    def tikhonov(
        self, damp: float, *, tol: float = TOL, maxiter: int | None = None
    ) -> VaryingInverse:
        """y ↦ argmin ‖Ax − y‖² + damp²‖x‖², damp > 0: an operator with its own `.H`.

        Every y is solved for by preconditioned conjugate gradients.  Differentiable in y.

        Parameters
        ----------
        damp : a number above 0
        tol : relative error to reach, which is proven
        maxiter : iterations that an image may take, by default what such problems need

        Raises
        ------
        ValueError, TypeError
            If one of these is not such a number.

        Warns
        -----
        AccuracyWarning
            By the operator, where tol was not reached.

        Examples
        --------
        >>> import torch, unconv
        >>> psfs = torch.tensor([[0.0, 1, 0], [0.3, 0.4, 0.3]], dtype=torch.float64)
        >>> A = unconv.ProductConvolution(psfs, (torch.tensor([0.0, 9.0]),), (10,), padding="same")
        >>> x = torch.arange(10.0, dtype=torch.float64)[None, None]
        >>> bool((A.tikhonov(1e-4)(A(x)) - x).abs().max() < 1e-4)
        True
        """
        check_number("damp", damp, positive=True)
        check_number("tol", tol, positive=True)
        if maxiter is not None:
            check_count("maxiter", maxiter)
        return VaryingInverse(self, float(damp), float(tol), maxiter)

    @outside_graphs
    def lstsq(
        self, y: Tensor, damp: float, *, tol: float = TOL, maxiter: int | None = None
    ) -> LstsqResult:
        """Solve min ‖Ax − y‖² + damp²‖x‖², damp > 0, and certify the answer.

        Parameters
        ----------
        y : (N, *range_shape), or one image (*range_shape)
        damp : a number above 0
        tol : relative error to reach, which is proven
        maxiter : iterations that an image may take, by default what such problems need

        Returns
        -------
        LstsqResult(solution, certificate)
            x : (N, *domain_shape) and a `Certificate` with one entry per image; its error_bound is
            recomputed from A in double precision, and bounds x before it is rounded to its dtype.

        Raises
        ------
        ValueError, TypeError
            One sentence: what was expected, what came, the remedy.

        Examples
        --------
        >>> import torch, unconv
        >>> psfs = torch.rand(3, 3, 5, 5, dtype=torch.float64)
        >>> nodes = (torch.tensor([2.0, 15.0, 28.0]),) * 2
        >>> A = unconv.ConvolutionProduct(psfs, nodes, (36, 36))
        >>> x, certificate = A.lstsq(torch.rand(1, 1, 32, 32, dtype=torch.float64), damp=1.0)
        >>> tuple(x.shape), bool((certificate.error_bound < 1e-6).all())
        ((1, 1, 36, 36), True)
        """
        if is_alone(y, self.range_shape):
            found = self.lstsq(y[None], damp, tol=tol, maxiter=maxiter)
            return found._replace(solution=found.solution[0])
        self._check(y, self.range_shape)
        inverse = self.tikhonov(damp, tol=tol, maxiter=maxiter)
        y = self._masked(y)
        check_all_finite("y", y, "mark such places with A.observed(mask)")
        with torch.no_grad():
            x, effort = inverse.solution(y)
            certificate = certify(inverse, x, y, effort)
        return LstsqResult(x.to(result_dtype(self.dtype, y.dtype, y.device.type)), certificate)


class ProductConvolution(_Doors):
    """A blur whose psf varies, by the place that the light comes from: A x = Σᵢ hᵢ ∗ (wᵢ·x).

    A point of the scene is spread by the psf of its own place, interpolated between the psfs hᵢ
    that are given at nodes: w are weights that add up to 1 at every sample.  True convolutions; the
    centre of a psf is its sample k//2 along each axis.

    A product with A or Aᴴ transforms for each part of the picture the psfs that matter there, and
    no others, so that it costs much the same for 4 psfs as for 100.

    Parameters
    ----------
    psfs : (*grid, *k), float16 to float64
        One psf at each node of a grid along one to three axes.  With a leading axis of C, each
        channel has psfs of its own.
    nodes
        A tuple of one 1-D tensor an axis of the grid: the positions of the psfs, in samples of the
        data y, increasing, 0 for the first sample.  Beyond the outermost nodes the psf is theirs.
    input_shape
        Spatial sizes of the scene x; with padding='valid' k − 1 more than those of the data.
    weights : (P, *sizes of the scene), >= 0 and with sum 1 over the first axis
        In the place of nodes, which are None then; psfs are (P, *k), or (C, P, *k).
    padding
        'valid': data that the scene's surroundings do not reach, which are thereby unknown;
        'same': data of the sizes of the scene.
    padding_mode
        What lies around the scene with padding='same': 'zeros', or itself again, 'circular'.
    channels
        Channels of x and y, each blurred by itself, where all share their psfs.
    interpolation
        'linear', or 'smooth': between two nodes 3t² − 2t³ in the place of t.

    Attributes
    ----------
    weight : (C or 1, P, *k), the psfs

    Raises
    ------
    ValueError, TypeError, NotImplementedError
        One sentence with what was expected, what came and the remedy.

    Examples
    --------
    >>> import torch, unconv
    >>> sharp, soft = (unconv.psf.gaussian(s) for s in (0.5, 1.5))
    >>> side = min(len(sharp), len(soft))
    >>> psfs = torch.zeros(2, 1, 15, 15, dtype=torch.float64)
    >>> for i, h in enumerate((sharp, soft)):
    ...     m = (15 - len(h)) // 2
    ...     psfs[i, 0, m : 15 - m, m : 15 - m] = h
    >>> nodes = torch.tensor([0.0, 31.0]), torch.tensor([15.5])     # sharp above, soft below
    >>> A = unconv.ProductConvolution(psfs, nodes, (32, 32), padding="same")
    >>> x = torch.zeros(1, 1, 32, 32, dtype=torch.float64)
    >>> x[..., 8, 16] = x[..., 24, 16] = 1
    >>> bool(A(x)[0, 0, 8, 16] > 2 * A(x)[0, 0, 24, 16])
    True

    References
    ----------
    Escande & Weiss, "Approximation of integral operators using product-convolution expansions",
    J. Math. Imaging Vision 58 (2017); Flicker & Rigaut, "Anisoplanatic deconvolution of adaptive
    optics images", J. Opt. Soc. Am. A 22 (2005); Nagy & O'Leary, "Restoring images degraded by
    spatially variant blur", SIAM J. Sci. Comput. 19 (1998).
    """

    product_first = True


class ConvolutionProduct(_Doors):
    """A blur whose psf varies, by the place where the light arrives: A x = Σᵢ wᵢ·(hᵢ ∗ x).

    A sample of the data averages the scene with the psf of its own place, interpolated between the
    psfs hᵢ that are given at nodes: w are weights that add up to 1 at every sample.  A constant
    scene stays constant for psfs with sum 1, where `ProductConvolution` keeps the light of every
    point.  True convolutions; the centre of a psf is its sample k//2 along each axis.

    Parameters
    ----------
    psfs : (*grid, *k), float16 to float64
        One psf at each node of a grid along one to three axes.  With a leading axis of C, each
        channel has psfs of its own.
    nodes
        A tuple of one 1-D tensor an axis of the grid: the positions of the psfs, in samples of the
        data y, increasing, 0 for the first sample.  Beyond the outermost nodes the psf is theirs.
    input_shape
        Spatial sizes of the scene x; with padding='valid' k − 1 more than those of the data.
    weights : (P, *sizes of the data), >= 0 and with sum 1 over the first axis
        In the place of nodes, which are None then; psfs are (P, *k), or (C, P, *k).
    padding
        'valid': data that the scene's surroundings do not reach, which are thereby unknown;
        'same': data of the sizes of the scene.
    padding_mode
        What lies around the scene with padding='same': 'zeros', or itself again, 'circular'.
    channels
        Channels of x and y, each blurred by itself, where all share their psfs.
    interpolation
        'linear', or 'smooth': between two nodes 3t² − 2t³ in the place of t.

    Attributes
    ----------
    weight : (C or 1, P, *k), the psfs

    Raises
    ------
    ValueError, TypeError, NotImplementedError
        One sentence with what was expected, what came and the remedy.

    Examples
    --------
    >>> import torch, unconv
    >>> psfs = torch.rand(2, 2, 3, 5, 5, 5, dtype=torch.float64)      # of a volume
    >>> psfs /= psfs.sum((-3, -2, -1), keepdim=True)
    >>> nodes = torch.tensor([0.0, 11]), torch.tensor([0.0, 11]), torch.tensor([0.0, 6, 11])
    >>> A = unconv.ConvolutionProduct(psfs, nodes, (16, 16, 16))
    >>> y = A(torch.ones(1, 1, 16, 16, 16, dtype=torch.float64))
    >>> tuple(y.shape), bool((y - 1).abs().max() < 1e-12)
    ((1, 1, 12, 12, 12), True)

    References
    ----------
    Denis, Thiébaut, Soulez, Becker & Mourya, "Fast approximations of shift-variant blur", Int. J.
    Computer Vision 115 (2015).
    """

    product_first = False
