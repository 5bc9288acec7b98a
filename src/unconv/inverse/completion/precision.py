"""What complete data would have, per frequency: precision and estimate.

For a signal of the power spectrum S and noise of the power spectrum N, complete data have

    v(ω) = C(ω) S(ω) C(ω)ᴴ + N(ω),    q(ω) = v(ω)⁻¹  (their precision),
    x(ω) = e(ω) y(ω),                  e(ω) = S(ω) C(ω)ᴴ q(ω)  (the estimate);

white noise of the variance s² has N = s², and damping is S = 1, s = damp.  Where there are several
channels nothing is squared: with B = C S^½ and [Bᴴ; N^½] = [Q₁; Q₂]·R, v is RᴴR, q = R⁻¹R⁻ᴴ and
e = S^½ Q₁ R⁻ᴴ, which lose eps·σ_max/s.

Source: Rasmussen & Williams, "Gaussian Processes for Machine Learning", MIT Press 2006, A.2; the QR
of the stack, Björck, "Numerical Methods for Least Squares Problems", SIAM 1996.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ...grid.torus import Torus, multiply
from ...numerics.threads import ENTRIES_A_SLICE, run_in_slices


class Precision(nn.Module):
    """q and e on the frequencies of a grid, and what they make of images on it.

    Parameters
    ----------
    torus : the grid
    blocks : (F, B, g, r, c) complex128, C: what maps c domain components to r outputs
    std : (B,) s, or damp; of noise that is not white the root of its least power
    root
        S^½, (F, 1, g, c) real for components apart, (F, 1, g, c, c) complex Hermitian for
        correlated ones; None for a white signal of variance 1
    noise : N, (F, B or 1, g or 1, r or 1), for noise that is not white

    Attributes
    ----------
    q : (B, g, *spectrum) real where a group has one output channel (r = 1), else (F, B, g, r, r)
    q_single
        in single precision, with the scale of the inverse transform; complex, for a product with
        complex numbers converts real ones each time
    root_of_v : (F, B, g, r, r) R with v = RᴴR where r > 1, else None
    estimate : (F, B, g, c, r)
    rms_q, rms_of_v : what q makes of white noise, and √⟨n, v n⟩ of it, relative to its norm
    """

    q: Tensor
    q_single: Tensor
    root_of_v: Tensor | None
    estimate: Tensor
    std: Tensor
    noise: Tensor

    def __init__(
        self,
        torus: Torus,
        blocks: Tensor,
        std: Tensor,
        root: Tensor | None = None,
        noise: Tensor | None = None,
    ) -> None:
        super().__init__()
        _, self.kernels, self.groups, self.channels, _ = blocks.shape
        self.torus, self.one_channel = torus, self.channels == 1
        coupled = root is not None and root.ndim == blocks.ndim
        if root is not None:
            blocks = blocks @ root if coupled else _scaled_(blocks.clone(), root[..., None, :])
        find = _by_numbers if self.one_channel else _by_blocks
        white = std.square().reshape(1, -1, 1, 1)
        noise = white if noise is None else noise
        q, root_of_v, estimate = find(blocks, noise)
        if root is not None:
            estimate = root @ estimate if coupled else _scaled_(estimate, root[..., None])
        if self.one_channel:
            q = q[..., 0, 0].permute(1, 2, 0).unflatten(-1, torus.spectrum_shape).contiguous()
        self.register_buffer("q", q)
        self.register_buffer("root_of_v", root_of_v)
        self.register_buffer(
            "q_single",
            (q / math.prod(torus.coarse)).to(torch.complex64),
        )
        self.register_buffer("estimate", estimate)
        self.register_buffer("std", std)
        # of images on the grid: (B or 1, g·r or 1, *spectrum or 1)
        each = noise.flatten(2).permute(1, 2, 0)
        sizes = torus.spectrum_shape if len(noise) > 1 else [1] * len(torus.coarse)
        self.register_buffer("noise", each.unflatten(-1, sizes).contiguous())
        q_of_all = _power(q).mean() * self.channels  # of rows of a block, one of each
        self.rms_q = float(q_of_all.sqrt())
        v_of_all = 1 / q if root_of_v is None else _power(root_of_v)
        self.rms_of_v = float((v_of_all.mean() * self.channels).sqrt())

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape (c_out, *coarse) of outputs on the grid."""
        return (self.groups * self.channels, *self.torus.coarse)

    def largest(self) -> float:
        """The largest eigenvalue of v, from above: at most r times too large."""
        if self.root_of_v is None:
            return 1 / float(self.q.amin())
        return float(self.root_of_v.abs().square().sum((-2, -1)).amax())

    def between(self, b: int, g: int, o: int, i: int) -> Tensor:
        """q between two channels of a group, (*spectrum) complex."""
        q = self.q[b, g] if self.one_channel else self.q[:, b, g, o, i]
        return q.reshape(self.torus.spectrum_shape).to(torch.complex128)

    def times_q(self, grid: Tensor) -> Tensor:
        """q∗grid, (N, g·r, *coarse), in the precision of the grid."""
        Y = self.torus.transform(grid)
        single = Y.dtype == torch.complex64
        q = self.q_single if single else self.q
        if self.one_channel:
            Y.mul_(q)
        else:
            Y = multiply(q, Y)
        return self.torus.inverse_transform(Y, scaled=single)

    def estimated(self, Y: Tensor) -> Tensor:
        """e Y on the fine grid, from the spectrum of complete data."""
        Y = multiply(self.estimate, Y)  # an image less in memory than another name
        return self.torus.from_phases(self.torus.inverse_transform(Y))

    def estimated_adjoint(self, x: Tensor) -> Tensor:
        """eᴴ x on the grid of the data, from an image of the domain."""
        X = self.torus.transform(self.torus.to_phases(x))
        return self.torus.inverse_transform(multiply(self.estimate, X, adjoint=True))

    def times_v(self, Y: Tensor) -> Tensor:
        """v Y for spectra."""
        if self.root_of_v is None:
            return Y / self.q
        return multiply(self.root_of_v, multiply(self.root_of_v, Y), adjoint=True)

    def of_noise(self, grid: Tensor) -> Tensor:
        """N∗grid, (N, g·r, *coarse)."""
        if self.noise[0, 0].numel() == 1:
            return self.noise * grid
        return self.torus.inverse_transform(self.torus.transform(grid) * self.noise)

    def carried(self, grid: Tensor) -> Tensor:
        """S Cᴴ grid on the fine grid: S Cᴴ is e v."""
        return self.estimated(self.times_v(self.torus.transform(grid)))

    def energy(self, grid: Tensor) -> Tensor:
        """⟨r, v r⟩ for images r of the grid, (N,)."""
        Y = self.torus.transform(grid)
        del grid  # the last name that it has
        if self.root_of_v is None:
            power = _power(Y).div_(self.q)
        else:
            power = _power(multiply(self.root_of_v, Y))
        total = power.flatten(1).sum(1)
        if self.torus.real:  # a frequency stands for its conjugate, but for those of two columns
            total *= 2
            for column in (0,) if self.torus.coarse[-1] % 2 else (0, -1):
                total -= power[..., column].flatten(1).sum(1)
        return total / math.prod(self.torus.coarse)


def _power(Y: Tensor) -> Tensor:
    """|Y|², without the care for the range of numbers that costs `abs` as much as an FFT."""
    if not Y.is_complex():
        return Y.square()
    return Y.real.square().addcmul_(Y.imag, Y.imag)


def _by_numbers(blocks: Tensor, noise: Tensor) -> tuple[Tensor, None, Tensor]:
    """q, None and S^-½e = Bᴴq for rows of one output channel."""
    v = _power(blocks).sum(-1, keepdim=True) + noise[..., None]
    q = v.reciprocal_()
    return q, None, _scaled_(blocks.conj_physical().mT, q)


def _scaled_(blocks: Tensor, real: Tensor) -> Tensor:
    """Complex blocks times real numbers, which a product of both would make complex first."""
    torch.view_as_real(blocks).mul_(real[..., None])
    return blocks


def _by_blocks(blocks: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """q, R with v = RᴴR, and S^-½e, by a QR of [Bᴴ; N^½] per frequency."""
    F, B, g, r, c = blocks.shape
    q, root = (blocks.new_empty(F, B, g, r, r) for _ in range(2))
    estimate = blocks.new_empty(F, B, g, c, r)
    std = noise.sqrt().to(blocks.dtype).expand(F, B, g, r)

    def work(part: slice) -> None:
        mine = blocks[part]
        stacked = torch.cat([mine.mH, torch.diag_embed(std[part])], -2)
        Q, R = torch.linalg.qr(stacked)
        eye = torch.eye(r, dtype=R.dtype, device=R.device).expand_as(R)
        inverse = torch.linalg.solve_triangular(R, eye, upper=True)
        q[part], root[part] = inverse @ inverse.mH, R
        estimate[part] = Q[..., :c, :] @ inverse.mH

    run_in_slices(work, F, max(1, ENTRIES_A_SLICE // (B * g * r * (r + c))), blocks.device)
    return q, root, estimate
