"""A position encoding in a model of timm or Hugging Face's transformers."""

from torch import nn

from liere_cli.api.in_models.timm import apply_to_timm, is_timm
from liere_cli.api.in_models.transformers import apply_to_transformers, is_transformers
from liere_cli.encodings import PositionEncoding
from liere_cli.encodings.registry import Spec
from liere_cli.errors import UsageError


def apply_to(
    module: nn.Module, encoding: Spec, *, tokens: int | None = None, seed: int | None = None
) -> PositionEncoding:
    """Replaces a model's position handling with an encoding, in place.

    The model's own position embeddings and rotations are removed, its other weights are kept. The
    encoding is a submodule, ``position_encoding``, so it is trained, moved and saved with the
    model. Attention is computed by PyTorch's ``scaled_dot_product_attention``.

    Args:
        module: a ``VisionTransformer`` or ``Eva`` of timm, or a model of transformers that is built
            as Llama (text) or ViT (images), also with a head.
        encoding: ``"liere:block=8"`` or ``{"name": "liere", "block": 8}``.
        tokens: length of training examples of a language model; by default the most that its
            configuration allows. Images have the grid of the model's image size.
        seed: fixes the encoding's initial parameters; None draws from torch's global generator.

    Returns:
        The encoding.

    Raises:
        UsageError: an unknown encoding or option, a model of another kind, or a shape that the
            encoding can't serve.
    """
    if hasattr(module, "position_encoding") or hasattr(
        getattr(module, "base_model", None), "position_encoding"
    ):
        raise UsageError("apply_to: the model has a position encoding already; build it anew")
    if is_transformers(module):
        return apply_to_transformers(module, encoding, tokens, seed)
    if tokens is not None:
        raise UsageError("apply_to: tokens is for language models of transformers")
    if is_timm(module):
        return apply_to_timm(module, encoding, seed)
    raise UsageError(
        f"apply_to: {type(module).__module__}.{type(module).__name__} is neither timm's nor "
        "transformers'; call the encoding in its attention, as docs/in-my-model.md shows"
    )
