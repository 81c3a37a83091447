"""The transformer that comparisons train."""

from liere_cli.key_value_cache import KeyValueCache
from liere_cli.model.shape import ModelShape, encoding_for
from liere_cli.model.transformer import ParameterGroup, Transformer

__all__ = ["KeyValueCache", "ModelShape", "ParameterGroup", "Transformer", "encoding_for"]
