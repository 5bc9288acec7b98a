"""`unconv psf`: what blurs, measured and estimated."""
