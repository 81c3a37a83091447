"""A block: pre-norm attention and MLP, each on a residual branch."""

from typing import cast

from torch import Tensor, nn

from liere_cli.model.attention import Attention, AttentionContext
from liere_cli.model.mlp import activate, input_width
from liere_cli.model.norm import build_norm
from liere_cli.model.shape import ModelShape


class Block(nn.Module):
    """Pre-norm attention and MLP, each on a residual branch."""

    def __init__(self, shape: ModelShape, layer: int) -> None:
        super().__init__()
        self.mlp = shape.mlp
        self.attention_norm = build_norm(shape.norm, shape.dim)
        self.attention = Attention(shape, layer)
        self.mlp_norm = build_norm(shape.norm, shape.dim)
        self.mlp_in = nn.Linear(shape.dim, input_width(shape.mlp, shape.hidden), bias=False)
        self.mlp_out = nn.Linear(shape.hidden, shape.dim, bias=False)
        self.dropout = nn.Dropout(shape.dropout) if shape.dropout else nn.Identity()

    def forward(self, x: Tensor, context: AttentionContext) -> Tensor:
        x = x + self.dropout(self.attention(self.attention_norm(x), context))
        hidden = activate(self.mlp, self.mlp_in(self.mlp_norm(x)))
        return x + cast(Tensor, self.dropout(self.mlp_out(hidden)))
