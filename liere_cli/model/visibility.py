"""Which keys a query attends to.

Shapes: B batch, Sq and Sk queries and keys (prefix included), T tokens with a position.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from liere_cli.positions.grid import Grid


def visible_keys(
    tokens: tuple[int, ...],
    device: torch.device,
    *,
    prefix: int = 0,
    cached: int = 0,
    causal: bool = False,
    window: int | None = None,
    present: Tensor | None = None,
    documents: Tensor | None = None,
) -> Tensor:
    """Bool [Sq, Sk] or [B, 1, Sq, Sk]; a prefix token attends to, and is seen by, every distance.

    Args:
        tokens: along each axis, those before the queries included.
        prefix: tokens without a position, before the others.
        cached: keys before the first query.
        causal: no query sees later keys.
        window: only keys whose distance is below this many tokens along every axis are seen.
        present: bool [B, Sk], False for padding, which sees itself alone.
        documents: int64 [B, T], of each token with a position, which sees those of its own alone.
    """
    keys = prefix + math.prod(tokens)
    queries = keys - cached
    visible = torch.ones(queries, keys, dtype=torch.bool, device=device)
    if causal:
        visible = visible.tril(cached)
    if window is not None:
        places = Grid(tokens).positions("index", device)
        distances = (places[max(cached - prefix, 0) :, None] - places).abs()
        near = (distances < window).all(-1)
        visible &= F.pad(near, (prefix, 0, queries - len(near), 0), value=True)
    if documents is not None:
        same = documents[:, None, :, None] == documents[:, None, None]
        visible = visible & F.pad(same, (prefix, 0, prefix, 0), value=True)
    if present is None:
        return visible
    # a query without any key would be NaN
    itself = torch.eye(queries, dtype=torch.bool, device=device)
    return visible & present[:, None, None] | itself
