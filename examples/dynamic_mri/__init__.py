"""Dynamic MRI from undersampled k-space with an unrolled low-rank network.

A complex series x (frames × H × W) is known by a few lines of the Fourier transform of each frame,
y = M (F x + noise), and is to be restored.  The best linear map comes first.  Written as a matrix
with one column for each frame (Casorati), a series of one moving scene is nearly of low rank; so
the network's cells, which go on from there, alternate between

    the data, x − step·Fᴴ(M F x − y),     a small learned correction,     and `svt` of the matrix.

Training them differentiates the singular value decompositions of tall complex matrices, which is
what `unconv.linalg` is for: of a series that does not move, all values but one are tied at zero.

`python -m examples.dynamic_mri --help` tells the commands.

Source: after the description of the dynamic MRI experiment in Zhang & Hu, "Differentiable SVD based
on Moore-Penrose pseudoinverse for inverse imaging problems", arXiv 2411.14141 (2024), of which no
code is public; cells, sizes and data are this example's own.
"""
