"""The plugin for napari: its widget (widget.py), and what that computes (deconvolution.py)."""
