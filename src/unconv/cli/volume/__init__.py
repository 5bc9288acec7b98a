"""`unconv volume`: the command, its psf, its bar, and the page of its report."""
