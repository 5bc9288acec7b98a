"""A scene dealt to tiles, and what mathematics and engine agree on."""
