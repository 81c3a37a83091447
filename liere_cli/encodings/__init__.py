"""Position encodings with one interface, usable in any transformer."""

from liere_cli.encodings.base import EncodingOptions, PositionedOptions, PositionEncoding, Shape
from liere_cli.encodings.registry import available, build_encoding, encoding_class, resolve_spec
from liere_cli.positions.grid import Grid

__all__ = [
    "EncodingOptions",
    "Grid",
    "PositionEncoding",
    "PositionedOptions",
    "Shape",
    "available",
    "build_encoding",
    "encoding_class",
    "resolve_spec",
]
