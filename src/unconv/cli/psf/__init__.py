"""`unconv psf`: psfs checked, made and matched; one file a command."""
