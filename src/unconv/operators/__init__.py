"""A and Aᴴ: linear operators, convolutions among them, their matrices and weight gradients."""
