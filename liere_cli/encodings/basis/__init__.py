"""Rotary encodings in another basis than that of the channels."""
