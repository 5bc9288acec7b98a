"""Where samples lie: sizes and padding of a convolution, and the periodic grid that it lives on."""
