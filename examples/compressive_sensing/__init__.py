"""Compressive sensing of colour images with an unrolled low-rank network.

A picture x ∈ [0, 1]^(3×H×W) is known at a few of its elements, y = M ⊙ x, and is to be restored.
The best linear map comes first.  From there four learned cells imitate steps of the method of
multipliers for

    min ½‖M ⊙ x − y‖² + λ‖T(x)‖_*,

each with a learned transform T in place of a fixed one.  Training them differentiates the singular
value decompositions of hundreds of matrices, which is what `unconv.linalg` is for.

`python -m examples.compressive_sensing --help` tells the commands.

Source: Zhang & Hu, "Differentiable SVD based on Moore-Penrose pseudoinverse for inverse imaging
problems", arXiv 2411.14141 (2024), section on colour images.
"""
