"""A linear operator of the library as one of SciPy's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..operators.linear_operator import LinearOperator
from ..operators.scipy_operator import scipy_operator_class

if TYPE_CHECKING:
    from ..operators.scipy_operator import SciPyOperator


def as_scipy(op: LinearOperator) -> SciPyOperator:
    """`op` on flat vectors: a `scipy.sparse.linalg.LinearOperator`, which PyLops takes too.

    Parameters
    ----------
    op
        Any operator of the library with one kernel for all samples: A, Aᴴ, A⁺, a composition.

    Returns
    -------
    SciPyOperator of shape (m, n) = `op.shape`
        With matvec, rmatvec, matmat and rmatmat on arrays of any real or complex dtype; the result
        has the promoted one, in double precision at most.  Gradients end here.

    Raises
    ------
    ValueError
        If the operator has one kernel per sample.

    Examples
    --------
    >>> import numpy as np, torch, unconv
    >>> from scipy.sparse.linalg import lsmr
    >>> A = unconv.ConvOperator(torch.randn(2, 1, 3, 3).double(), (8, 9), padding=1)
    >>> x = np.random.default_rng(0).standard_normal(8 * 9)
    >>> S = as_scipy(A)
    >>> S.shape, np.allclose(lsmr(S, S @ x, atol=1e-12, btol=1e-12)[0], x)
    ((144, 72), True)
    >>> np.allclose(as_scipy(A.pinv()) @ (S @ x), x)
    True

    PyLops: `pylops.aslinearoperator(as_scipy(A))`; it knows the shapes of x and y.
    """
    return scipy_operator_class()(op)
