"""An encoding in another library's model: what its attention layers share.

Shapes: B batch, N heads, S queries, K keys (prefix included), H head_dim, A axes.
"""

import math
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from liere_cli.encodings import PositionEncoding
from liere_cli.errors import UsageError
from liere_cli.positions.cache import PositionCache
from liere_cli.positions.grid import Grid

#: the attribute of an attention module that holds its AppliedLayer
LAYER = "_liere_layer"
#: the name under which the model has the encoding as a submodule
SUBMODULE = "position_encoding"


class AppliedEncoding:
    """An encoding in one model, with the state of the current forward pass.

    Args:
        encoding: built for the model's heads, depth and training grid; a submodule of the model.
        prefix_tokens: CLS and register tokens, which come first and have no position.
    """

    def __init__(self, encoding: PositionEncoding, prefix_tokens: int) -> None:
        self.encoding = encoding
        self.prefix_tokens = prefix_tokens
        #: tokens along each axis of the current input
        self.grid = encoding.shape.grid
        #: positions of the queries [S - prefix, A], the encoding's state for them and for all keys
        self.positions: Tensor | None = None
        self.state: Any = None
        self.key_state: Any = None
        self._cache = PositionCache()

    def __getstate__(self) -> dict[str, Any]:
        """For copies: without the tensors of a pass."""
        return self.__dict__ | {"positions": None, "state": None, "key_state": None}

    def begin(self, x: Tensor) -> Tensor:
        """Prepares a pass of tokens [B, S, dim], and returns them with what the encoding adds."""
        positions = self.positions
        if self.grid is not None:
            positions = self._cache.get((self.grid, x.device), self._positions_of_grid(x.device))
            self.encoding.check_tokens(x.shape[1], len(positions), self.prefix_tokens)
        if positions is None:
            raise UsageError("the model did not pass position_ids, which its encoding needs")
        self.positions = positions
        self.state, self.key_state = self.encoding.prepare(positions), None
        return self.encoding.embed(x, positions, prefix_tokens=self.prefix_tokens)

    def _positions_of_grid(self, device: torch.device) -> Any:
        grid, encoding = self.grid, self.encoding
        assert grid is not None
        return lambda: encoding.positions(grid, device=device)

    def counted(self, index: Tensor) -> Tensor:
        """Tokens of a text, whole numbers [T], as positions [T, 1] in the encoding's units."""
        encoding = self.encoding
        grid = Grid((1,), encoding.shape.grid or ())
        return grid.positions(encoding.scaling, index.device, lambda _: index.float()[:, None])

    def states(self, queries: int, keys: int) -> tuple[Any, Any]:
        """The states of queries and of keys; of more keys, which a cache holds, those from 0 on."""
        if keys == queries:
            return self.state, self.state
        if self.key_state is None:
            assert self.positions is not None
            index = torch.arange(keys, device=self.positions.device)
            self.key_state = self.encoding.prepare(self.counted(index))
        return self.state, self.key_state

    def attend(
        self,
        layer: int,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        *,
        mask: Tensor | None,
        causal: bool,
        dropout: float,
        scale: float,
    ) -> Tensor:
        """Attention of one layer with the encoding.

        Args:
            q: [B, N, S, H].
            k, v: [B, N or a divisor of it, K, H].
            mask: bool, True for visible keys, or added to the logits; [..., S, K].
            causal: whether a query sees no later key, where there is no mask.
            dropout: rate of the weights.
            scale: factor of the logits.

        Returns:
            [B, N, S, H].
        """
        encoding, prefix = self.encoding, self.prefix_tokens
        if k.shape[1] != q.shape[1]:
            k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
        state, key_state = self.states(q.shape[2], k.shape[2])
        if state is key_state:
            q, k = encoding.encode_qk(q, k, state, layer, prefix_tokens=prefix)
        else:
            q = encoding.encode_q(q, state, layer, prefix_tokens=prefix)
            k = encoding.encode_k(k, key_state, layer, prefix_tokens=prefix)
        if "values" in encoding.places:
            v = encoding.encode_v(v, key_state, layer, prefix_tokens=prefix)
        bias = encoding.bias(state, key_state, layer)
        causal = causal and mask is None and q.shape[2] > 1
        if bias is not None:
            bias = F.pad(bias.to(q.dtype), (prefix, 0, prefix, 0))
            if causal:
                mask = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=q.device)
                mask, causal = mask.tril(k.shape[2] - q.shape[2]), False
            if mask is None:
                mask = bias
            elif mask.dtype == torch.bool:
                mask = torch.where(mask, bias, -math.inf)
            else:
                mask = mask + bias
        y = F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=causal, dropout_p=dropout, scale=scale
        )
        if "values" in encoding.places:
            y = encoding.decode_v(y, state, layer, prefix_tokens=prefix)
        return y


class AppliedLayer:
    """The encoding at one attention module; no submodule of it, so that it is saved once."""

    def __init__(self, applied: AppliedEncoding, number: int) -> None:
        self.applied = applied
        self.number = number


def install(
    model: nn.Module,
    applied: AppliedEncoding,
    attentions: list[nn.Module],
    first_block: nn.Module,
) -> None:
    """Makes the encoding a submodule of the model, known to its attention modules, and prepares it
    before the first block.
    """
    setattr(model, SUBMODULE, applied.encoding)
    for number, attention in enumerate(attentions):
        setattr(attention, LAYER, AppliedLayer(applied, number))

    first_block.register_forward_pre_hook(_Begin(applied), with_kwargs=True)


class _Begin:
    """A hook that calls ``begin``; an object, so that copies of a model get their own."""

    def __init__(self, applied: AppliedEncoding) -> None:
        self.applied = applied

    def __call__(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if args:
            return (self.applied.begin(args[0]), *args[1:]), kwargs
        return args, kwargs | {"hidden_states": self.applied.begin(kwargs["hidden_states"])}


class PatchGrid:
    """A hook before patches are cut, which notes their grid [B, C, height, width]."""

    def __init__(self, applied: AppliedEncoding, patch: tuple[int, int]) -> None:
        self.applied, self.patch = applied, patch

    def __call__(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        height, width = cast(Tensor, args[0]).shape[-2:]
        self.applied.grid = (height // self.patch[0], width // self.patch[1])
