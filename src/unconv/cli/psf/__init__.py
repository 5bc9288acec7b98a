"""`unconv psf`: psfs measured, estimated, checked, made and matched; one file a command."""
