"""The layer whose linear part a `ConvOperator` is: A x + bias, and the gradient of its misfit."""

from __future__ import annotations

from torch import Tensor

from ..numerics.checks import check_tensor
from ..operators.convolution import Convolution


class LayerMethods(Convolution):
    """What has the layer's bias in it."""

    def affine(self, x: Tensor) -> Tensor:
        """A x + bias: what the layer computes.  A x itself where there is no bias.

        Parameters
        ----------
        x : (N, *domain_shape)

        Returns
        -------
        (N, *range_shape), with zeros where `observed` says that nothing was seen.

        Raises
        ------
        ValueError, TypeError
            As for a call of the operator.

        Examples
        --------
        >>> import torch, unconv
        >>> layer = torch.nn.Conv2d(3, 8, 3, stride=2)
        >>> A = unconv.ConvOperator.from_module(layer, (17, 17))    # its outputs are 8 wide, too
        >>> x = torch.randn(1, 3, 17, 17)
        >>> bool(torch.allclose(A.affine(x), layer(x), atol=1e-5))
        True
        """
        y = self(x)
        return y if self.bias is None else self._masked(y + self.bias)

    def residual_gradient(self, x: Tensor, y: Tensor) -> Tensor:
        """Aᴴ(A x + bias − y), the gradient of ½‖A x + bias − y‖² in x.

        Parameters
        ----------
        x : (N, *domain_shape)
        y : (N, *range_shape), what the layer is to give; without effect where nothing was seen

        Returns
        -------
        (N, *domain_shape)

        Raises
        ------
        ValueError, TypeError
            If x or y does not fit the operator, or one holds more samples than the other.

        Examples
        --------
        >>> import torch, unconv
        >>> layer = torch.nn.Conv2d(3, 8, 3)
        >>> A = unconv.ConvOperator.from_module(layer, (10, 10))
        >>> x, y = torch.randn(1, 3, 10, 10, requires_grad=True), torch.randn(1, 8, 8, 8)
        >>> (gradient,) = torch.autograd.grad(0.5 * (layer(x) - y).square().sum(), x)
        >>> bool(torch.allclose(A.residual_gradient(x, y), gradient, atol=1e-5))
        True
        """
        fitted = self.affine(x)
        check_tensor("y", y)
        if y.shape != fitted.shape or y.device != fitted.device:
            raise ValueError(
                f"the layer makes {tuple(fitted.shape)} on {fitted.device} of x, and y is "
                f"{tuple(y.shape)} on {y.device}; give one y for each x."
            )
        return self.H(fitted - y)
