"""What undoes a `ConvOperator`: doors to `unconv.inverse` and `unconv.regularize`."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ..inverse import (
    InverseOperator,
    LstsqResult,
    Plan,
    factorize,
    make_plan,
    request_of,
    solve,
)
from ..inverse.plan import check_method, damp_value, refuse_no_damp
from ..numerics.checks import check_flag, check_number
from ..numerics.compiled import outside_graphs
from ..numerics.progress import Progress
from ..operators.convolution import Convolution
from ..operators.images import is_alone
from ..operators.linear_operator import DEFAULT_MEMORY_LIMIT, EXPECTED_SOLVES
from ..regularize.filters import filtered_inverse
from ..regularize.penalized import penalized, solve_penalized
from ..regularize.penalty import Penalty
from ..regularize.prox import Prox, damp_of
from ..regularize.wiener.estimator import wiener_inverse


class InverseMethods(Convolution):
    """Inverses of an operator, factored once, and one-off solves with their evidence."""

    @outside_graphs
    def plan(
        self,
        *,
        damp: float = 0.0,
        rtol: float | None = None,
        atol: float = 0.0,
        method: str = "auto",
        memory_limit: float = DEFAULT_MEMORY_LIMIT,
        expected_solves: int = EXPECTED_SOLVES,
        tol: float | None = None,
    ) -> Plan:
        """Which method would answer, why, its memory and cost; allocates nothing.

        `pinv`, `tikhonov` and `lstsq` take the rung (the method on the ladder of `unconv.inverse`)
        that is named here for the same options and number of solves, if none gives up.

        Parameters
        ----------
        damp
            0 plans A⁺, more the damped inverse.
        expected_solves
            How many images will be solved, to weigh set-up against solves: one image of a
            well-damped problem is solved sooner by iterations than by a factorisation.
        rtol, atol, method, memory_limit, tol
            As in `pinv`.

        Returns
        -------
        Plan
            `print` shows it.

        Raises
        ------
        MemoryLimitError, ValueError
            No method fits the memory, or none serves this operator; the sentence names each reason.

        Examples
        --------
        >>> import torch, unconv
        >>> K = torch.randn(32, 32, 3, 3)
        >>> A = unconv.ConvOperator(K, (128, 128), padding=1, padding_mode="circular")
        >>> A.plan().method
        'fourier'
        """
        request = request_of(damp, rtol, atol, memory_limit, expected_solves, tol, method=method)
        return make_plan(self, request)

    @outside_graphs
    def pinv(
        self,
        *,
        rtol: float | None = None,
        atol: float = 0.0,
        method: str = "auto",
        memory_limit: float = DEFAULT_MEMORY_LIMIT,
        expected_solves: int = EXPECTED_SOLVES,
        tol: float | None = None,
        maxiter: int | None = None,
        check_finite: bool = True,
        progress: Progress | None = None,
    ) -> InverseOperator:
        """The Moore–Penrose pseudo-inverse A⁺, factored once: an operator with its own `.H`.

        `A⁺ y` is the least-squares solution of smallest norm.

        Parameters
        ----------
        rtol, atol
            Singular values σ ≤ max(atol, rtol·σ_max) count as zero, as in `torch.linalg.pinv`,
            against the largest singular value of the whole operator.  Default for rtol:
            max(m, n)·eps of float64, in which every factor of A⁺ is computed, and never under the
            eps of the operator's dtype.
        method
            'auto' climbs the ladder of `unconv.inverse`; a name forces that rung.
        memory_limit
            Bytes that the factorisation may take; what needs more is iterated.
        expected_solves
            How many images will be solved, to weigh set-up against solves: damped, a few are often
            solved sooner by iterations, many by a factorisation.  `plan`, `lstsq` and this method
            take the same rung for the same number.
        tol, maxiter
            Where the method iterates: the error_bound to reach (1e-6), and the iterations it may
            take.
        check_finite
            Refuse NaN and Inf in the weight now and in every y later.
        progress
            Where the method iterates ('krylov', 'completion'): called in every solve after each
            step as progress(step, fraction), with the method, step and error in words, and how
            much of the batch is done.  What it raises ends the solve.

        Notes
        -----
        Differentiable in y and the weight, twice, while the rank stays what it is: where A has full
        rank always; where singular values were dropped as zero, along changes of the weight that
        keep them there.  Across a change of rank A⁺ is discontinuous and has no derivative.  A cut
        through values that are not zero is refused in the backward (see unconv.inverse.derivative).

        Examples
        --------
        >>> import torch, unconv
        >>> K = torch.randn(3, 3, 3, 3, dtype=torch.float64)
        >>> A = unconv.ConvOperator(K, (64, 64), padding=1, padding_mode="circular")
        >>> x = torch.randn(5, 3, 64, 64, dtype=torch.float64)
        >>> pinv = A.pinv()
        >>> bool(torch.allclose(pinv(A(x)), x))
        True
        """
        request = request_of(
            0.0,
            rtol,
            atol,
            memory_limit,
            expected_solves,
            tol,
            maxiter,
            method=method,
            check_finite=check_finite,
            progress=progress,
        )
        return factorize(self, request)

    @outside_graphs
    def tikhonov(
        self,
        damp: float | Tensor,
        *,
        penalty: Penalty | None = None,
        method: str = "auto",
        memory_limit: float = DEFAULT_MEMORY_LIMIT,
        expected_solves: int = EXPECTED_SOLVES,
        tol: float | None = None,
        maxiter: int | None = None,
        check_finite: bool = True,
        progress: Progress | None = None,
    ) -> InverseOperator:
        """y ↦ argmin ‖Ax − y‖² + damp²‖Lx‖², damp > 0, factored once; L = I without a penalty.

        Parameters
        ----------
        damp
            A number, or a tensor of one element, of which a gradient may be asked, and which
            `torch.func.vmap` may map over where there is no penalty: one factor a slice.
        penalty
            L: 'gradient', 'laplacian', a correlation kernel, or a ConvOperator on the same domain;
            see `unconv.regularize.penalty_operator` for its boundary.
        method, memory_limit, expected_solves, tol, maxiter, check_finite, progress
            As in `pinv`.

        Examples
        --------
        >>> import torch, unconv
        >>> K = torch.full((1, 1, 3, 3), 1 / 9, dtype=torch.float64)
        >>> A = unconv.ConvOperator(K, (16, 16), padding=1, padding_mode="reflect")
        >>> flat = torch.ones(1, 1, 16, 16, dtype=torch.float64)
        >>> bool(torch.allclose(A.tikhonov(1.0, penalty="gradient")(A(flat)), flat))
        True
        """
        request = request_of(
            damp,
            None,
            0.0,
            memory_limit,
            expected_solves,
            tol,
            maxiter,
            method=method,
            check_finite=check_finite,
            progress=progress,
            each_damp=penalty is None,
        )
        refuse_no_damp(request.damp)
        if penalty is None:
            return factorize(self, request)
        return penalized(self, penalty, request)

    @outside_graphs
    def prox(
        self,
        v: Tensor,
        y: Tensor,
        rho: float | Tensor,
        *,
        method: str = "auto",
        memory_limit: float = DEFAULT_MEMORY_LIMIT,
        expected_solves: int = EXPECTED_SOLVES,
        tol: float | None = None,
        maxiter: int | None = None,
        check_finite: bool = True,
    ) -> Tensor:
        """argmin ½‖Ax − y‖² + (rho/2)‖x − v‖², exactly: the step of ADMM, plug and play, diffusion.

        It is v + (AᴴA + rho)⁻¹Aᴴ(y − Av).  The factors of the last four rho are kept with the
        operator, as long as its weight does not change.

        Parameters
        ----------
        v : (N, *domain_shape), or one image without its batch axis
        y : (N, *range_shape), or one image likewise
        rho : a number above 0, or a tensor of one element, of which a gradient may be asked
        method, memory_limit, expected_solves, tol, maxiter, check_finite
            As in `tikhonov` with damp = √rho.

        Returns
        -------
        (N, *domain_shape), or (*domain_shape) for one image

        Raises
        ------
        ValueError, TypeError
            If v or y does not fit the operator, or rho is no number above 0.

        Notes
        -----
        Differentiable in v, y, rho and the weight.

        Examples
        --------
        >>> import torch, unconv
        >>> A = unconv.ConvOperator(torch.rand(1, 1, 3, 3).double(), (8, 8))
        >>> v, y = torch.rand(1, 1, 8, 8).double(), torch.rand(1, 1, 6, 6).double()
        >>> x = A.prox(v, y, 0.5)
        >>> bool(torch.allclose(A.H(A(x) - y) + 0.5 * (x - v), 0 * x, atol=1e-6))
        True

        References
        ----------
        Parikh & Boyd, "Proximal Algorithms", Foundations and Trends in Optimization 1 (2014).
        """
        alone = is_alone(v, self.domain_shape) and is_alone(y, self.range_shape)
        v, y = (v[None], y[None]) if alone else (v, y)
        self._check(v, self.domain_shape)
        self._check(y, self.range_shape)
        if len(v) != len(y):
            raise ValueError(f"v holds {len(v)} samples and y {len(y)}; give one v for each y.")
        check_number("rho", damp_value(rho, "rho"), positive=True, why="; for rho = 0 use lstsq")
        check_method(method)
        request = request_of(
            0.0,
            None,
            0.0,
            memory_limit,
            expected_solves,
            tol,
            maxiter,
            method=method,
            check_finite=check_finite,
        )
        kept = self.__dict__.setdefault("_prox", Prox())
        x = kept(self, v, y, damp_of(rho, self.device), request)
        return x[0] if alone else x

    @outside_graphs
    def wiener(
        self,
        noise_psd: float | Tensor,
        signal_psd: float | Tensor,
        *,
        channel_covariance: Tensor | None = None,
        method: str = "auto",
        memory_limit: float = DEFAULT_MEMORY_LIMIT,
        tol: float | None = None,
        maxiter: int | None = None,
        check_finite: bool = True,
        progress: Progress | None = None,
    ) -> InverseOperator:
        """The linear estimate of least expected error of x from y = Ax + noise, factored once.

        Parameters
        ----------
        noise_psd
            Power spectrum of the noise: a number (white: the variance), (*m) or (c_out, *m), in the
            order of `torch.fft.fftn`; on the grid of signal_psd where A is not circular.
        signal_psd
            Power spectrum of x, which has zero mean: a number, (*n) or (c_in, *n).  An image of n
            samples has the periodogram |FFT(x)|²/n.  Along axes that are not circular it may be of
            a larger grid, whose first part is the domain: then opposite edges are no neighbours.
        channel_covariance : (c_in, c_in), multiplies signal_psd: covariance between channels
        method, memory_limit, tol, maxiter, check_finite, progress
            As in `pinv`; 'fourier' is for circular operators, 'completion' for those that neither
            pad nor stride, 'krylov' for all.

        Examples
        --------
        >>> import torch, unconv
        >>> K = torch.randn(1, 1, 5, 5, dtype=torch.float64)
        >>> A = unconv.ConvOperator(K, (32, 32), padding="same", padding_mode="circular")
        >>> y = torch.randn(1, 1, 32, 32, dtype=torch.float64)
        >>> bool(torch.allclose(A.wiener(0.09, 1.0)(y), A.tikhonov(0.3)(y)))
        True
        """
        request = request_of(
            0.0,
            None,
            0.0,
            memory_limit,
            1,
            tol,
            maxiter,
            method=method,
            check_finite=check_finite,
            progress=progress,
        )
        return wiener_inverse(self, noise_psd, signal_psd, channel_covariance, request)

    @outside_graphs
    def tsvd(
        self,
        rtol: float,
        *,
        method: str = "auto",
        memory_limit: float = DEFAULT_MEMORY_LIMIT,
        expected_solves: int = EXPECTED_SOLVES,
        tol: float | None = None,
        maxiter: int | None = None,
        check_finite: bool = True,
        progress: Progress | None = None,
    ) -> InverseOperator:
        """A⁺ without the singular values σ ≤ rtol·σ_max: `pinv` with its cut-off named.

        Parameters
        ----------
        rtol
            Of [0, 1), relative to the largest singular value of the whole operator.
        method, memory_limit, expected_solves, tol, maxiter, check_finite, progress
            As in `pinv`.

        Examples
        --------
        >>> import torch, unconv
        >>> K = torch.tensor([[[1.0, 2.0, 1.0]]], dtype=torch.float64)
        >>> A = unconv.ConvOperator(K, (8,), padding=1, padding_mode="circular")
        >>> A.tsvd(0.1).summary.rank
        tensor([7])
        """
        check_number("rtol", rtol, below=1, why=": a cut-off at σ_max leaves nothing of A")
        return self.pinv(
            rtol=rtol,
            method=method,
            memory_limit=memory_limit,
            expected_solves=expected_solves,
            tol=tol,
            maxiter=maxiter,
            check_finite=check_finite,
            progress=progress,
        )

    @outside_graphs
    def filtered(
        self,
        gain: Callable[[Tensor], Tensor],
        *,
        memory_limit: float = DEFAULT_MEMORY_LIMIT,
        check_finite: bool = True,
    ) -> InverseOperator:
        """Σ f(σᵢ) ⟨uᵢ, y⟩ vᵢ, with any f in the place of 1/σ, where A can be diagonalised.

        Parameters
        ----------
        gain
            f, from a float64 tensor of singular values to a real tensor of the same shape, with
            f(0) = 0; `unconv.regularize` has `landweber` and `showalter`.
        memory_limit, check_finite
            As in `pinv`.

        Examples
        --------
        >>> import torch, unconv
        >>> A = unconv.ConvOperator(torch.randn(2, 2, 3, 3).double(), (8, 8), padding=1)
        >>> y = torch.randn(1, 2, 8, 8).double()
        >>> tikhonov = A.filtered(lambda s: s / (s**2 + 0.01))
        >>> bool(torch.allclose(tikhonov(y), A.tikhonov(0.1)(y)))
        True
        """
        request = request_of(0.0, None, 0.0, memory_limit, check_finite=check_finite)
        return filtered_inverse(self, gain, request)

    @outside_graphs
    def lstsq(
        self,
        y: Tensor,
        damp: float | Tensor = 0.0,
        *,
        penalty: Penalty | None = None,
        rtol: float | None = None,
        atol: float = 0.0,
        subtract_bias: bool = False,
        method: str = "auto",
        memory_limit: float = DEFAULT_MEMORY_LIMIT,
        expected_solves: int | None = None,
        tol: float | None = None,
        maxiter: int | None = None,
        check_finite: bool = True,
        progress: Progress | None = None,
    ) -> LstsqResult:
        """Solve min ‖Ax − y‖² + damp²‖x‖² and certify the answer.

        Parameters
        ----------
        y : (N, *range_shape), or one image (*range_shape)
        damp
            As in SciPy's `lsqr`; 0 gives the minimum-norm least-squares solution.  A number, or a
            tensor as in `tikhonov`.
        penalty
            Damp Lx and not x, as in `tikhonov`; the certificate is that of [A; damp·L].
        subtract_bias
            Take `op.bias` off y first: the input of the layer whose output is y.
        rtol, atol, method, memory_limit, check_finite, progress
            As in `pinv`.
        expected_solves
            How many images will be solved with these options; by default the batch size of y, and
            at least 10, as in `plan`, `pinv` and `tikhonov`: the same question gets the same rung.
            A single image of a well-damped problem is solved sooner, to `tol`, with 1.
        tol
            The error_bound above which `converged` is False.  An iteration works until it is
            reached (1e-6 by default); direct methods are exact to round-off, and by default what
            the dtype and the condition allow is asked of them (`certificate.tolerance`).
        maxiter
            Iterations that a method may take where it iterates.

        Returns
        -------
        LstsqResult(solution, certificate)
            x : (N, *domain_shape) and a `Certificate` with one entry per image; for one image alone
            x has no batch axis either.

        Raises
        ------
        MemoryLimitError, ValueError, TypeError
            One sentence: what was expected, what came, the remedy.

        Examples
        --------
        >>> import torch, unconv
        >>> A = unconv.ConvOperator(torch.randn(2, 2, 3, 3).double(), (8, 8), padding=1)
        >>> x = torch.randn(4, 2, 8, 8).double()
        >>> solution, certificate = A.lstsq(A(x))
        >>> bool(torch.allclose(solution, x)), bool(certificate.converged.all())
        (True, True)
        """
        alone = is_alone(y, self.range_shape)
        y = y[None] if alone else y
        self._check(y, self.range_shape)
        if check_flag("subtract_bias", subtract_bias):
            bias = self.bias
            if bias is None:
                raise ValueError("subtract_bias=True, but the operator has no bias; leave it out.")
            y = y - bias
        solves = max(EXPECTED_SOLVES, len(y)) if expected_solves is None else expected_solves
        request = request_of(
            damp,
            rtol,
            atol,
            memory_limit,
            solves,
            tol,
            maxiter,
            method=method,
            check_finite=check_finite,
            progress=progress,
            each_damp=penalty is None,
        )
        if penalty is None:
            found = solve(self, y, request)
        else:
            found = solve_penalized(self, y, penalty, request)
        return found._replace(solution=found.solution[0]) if alone else found
