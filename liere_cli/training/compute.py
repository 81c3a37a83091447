"""Operations of a model, for tables that compare encodings at equal budgets."""

import math
from functools import lru_cache

from torch import nn

from liere_cli.config.spec import format_spec, parse_spec
from liere_cli.encodings.describe import flops_per_token
from liere_cli.model import ModelShape, Transformer, encoding_for
from liere_cli.runs.user_model import UserModel


def forward_flops(model: Transformer, encoding: dict[str, object]) -> float | None:
    """Operations of a forward pass per token, at the training grid; None where they can't be known.

    A product of matrices counts a multiplication and an addition for each term; attention counts
    all pairs of tokens, also where a mask removes some. The encoding's own operations are counted
    by running it, see :class:`liere_cli.encodings.describe.ShapeProfile`. Registers are counted;
    norms, activations and the CLS token are left out: they are the same for all encodings.
    """
    if isinstance(model, UserModel):
        return None
    try:
        own = _encoding_flops(format_spec(encoding), model.shape)
    except Exception:
        # an encoding of any origin, and a trained run must not be lost for a count
        return None
    shape, tokens = model.shape, math.prod(model.token_grid)
    sequence = tokens + shape.registers
    layers = [module for module in model.blocks.modules() if isinstance(module, nn.Linear)]
    weights = sum(layer.weight.numel() for layer in layers)
    in_blocks = 2 * weights * sequence + 2 * 2 * sequence**2 * shape.dim * shape.layers
    embedding = model.embed.weight.numel() if isinstance(model.embed, nn.Linear) else 0
    # a classifier has one output an example
    head = shape.dim * shape.classes / (1 if shape.causal else tokens)
    return in_blocks / tokens + 2 * (embedding + head) + own


@lru_cache(maxsize=256)
def _encoding_flops(spec: str, shape: ModelShape) -> float:
    """The encoding's operations per token, on the CPU, once for all seeds."""
    encoding = encoding_for(shape, parse_spec(spec))
    return flops_per_token(encoding, shape.tokens(shape.grid), fused=shape.fuses_encoding)
