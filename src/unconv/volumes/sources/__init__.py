"""Inputs of every kind, read by regions: files, folders, arrays."""

from .files import open_source
from .source import Batch, Source

__all__ = ["Batch", "Source", "open_source"]
