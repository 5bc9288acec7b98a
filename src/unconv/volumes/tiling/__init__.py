"""A scene dealt to tiles, its blur and data, and what mathematics and engine agree on."""
