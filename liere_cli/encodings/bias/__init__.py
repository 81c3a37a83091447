"""Encodings that add to the attention logits."""

from liere_cli.encodings.bias.base import LogitBias

__all__ = ["LogitBias"]
