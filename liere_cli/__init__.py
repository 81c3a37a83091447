"""Settle questions about transformer position encodings, from text to video."""

__version__ = "0.1.0"
