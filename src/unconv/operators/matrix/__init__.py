"""The matrix of a convolution, by index arithmetic.

    y = A x:    A[(o, i), (c, j)] = Σ w[o, c, t]   over the taps t that read sample j at output i

Along one axis, output i and sample j fix the set T(i, j) of those taps; over several axes the set
is the product T₁ × T₂ × …, one factor per axis.  So the entries of A lie where those of a Kronecker
product of small matrices lie, one of them an axis and one for the channels (factors.py), and every
value is looked up in the weight itself, or in its sums over the sets where a boundary lets several
taps read one sample (table.py).  No impulse is convolved, no duplicate is stored, and what comes
out is sorted (layouts.py).  `conv_matrix` puts the words of torch, SciPy,
NumPy and MATLAB in front (convolution_matrix.py, conventions.py).

Cost: about ten passes over the entries, in blocks; beyond the result no more than one integer an
entry is kept.  Do not build a matrix in order to apply A: the operator needs k^nd numbers and no
indices.  Build it for sparse solvers, to look at, or to hold other code against.

Source: Hansen, Nagy & O'Leary, "Deblurring Images", SIAM 2006, ch. 4, for the structure under
each boundary; `convmtx2` of MATLAB.
"""

from .conventions import CONVENTIONS, SHAPES
from .convolution_matrix import conv_matrix
from .layouts import LAYOUTS, ORDERS, operator_matrix

__all__ = ["CONVENTIONS", "LAYOUTS", "ORDERS", "SHAPES", "conv_matrix", "operator_matrix"]
