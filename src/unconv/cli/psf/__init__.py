"""`unconv psf`: psfs measured, checked, made and matched; one file a command."""
