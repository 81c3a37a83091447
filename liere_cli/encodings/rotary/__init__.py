"""Encodings that rotate planes of channels."""

from liere_cli.encodings.rotary.base import Rotary

__all__ = ["Rotary"]
