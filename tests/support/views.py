"""Views of items that are decoded when they are gathered."""

import torch
from torch import Tensor

from liere_cli.data.base import Encoded, Examples


def fixed_views(examples: Examples, chosen: Tensor | None = None) -> Tensor:
    """All views of each item, or of the ``chosen``, int64 [B]: uint8 [B * V, C, *grid]."""
    inputs = examples.inputs
    assert isinstance(inputs, Encoded)
    items = range(len(examples)) if chosen is None else chosen.tolist()
    decoded = [inputs.decode(item, None, view) for item in items for view in range(inputs.views)]
    return torch.stack([torch.from_numpy(array) for array in decoded])
