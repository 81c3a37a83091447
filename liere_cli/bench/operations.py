"""Operations of a whole training step on a GPU, counted without one.

The step runs on tensors without values (device ``meta``), in bfloat16 as autocast has it on CUDA.
Every call of torch that computes is one kernel, which reads its inputs from memory and writes its
outputs; attention is FlashAttention; the optimizer and clipping, which are fused over tensors, are
computed from their launch rules. A few calls launch two or three kernels, for all encodings alike.
"""

import math
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from typing import Any, cast
from unittest import mock

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from liere_cli.bench.step import StepShape
from liere_cli.encodings.registry import Spec
from liere_cli.model import Transformer
from liere_cli.rotations.kernels.triton.support import assume_available

#: squarings of LieRE's initialisation in two dimensions, for the FLOPs of exponentials
SQUARINGS = 8
#: functions that CUDA's autocast computes in bfloat16 and in float32
_NARROW = {F.linear, torch.matmul, torch.bmm, Tensor.matmul, Tensor.__matmul__, torch.einsum}
_WIDE = {F.layer_norm, F.cross_entropy}
#: operations that compute nothing
_FREE = {"empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided", "detach"}
#: operations that write to their first argument, or to new memory, without reading it
_FILLS = {"zeros", "zeros_like", "new_zeros", "ones", "ones_like", "full", "full_like", "new_full"}
_OVERWRITES = {"copy_", "fill_", "zero_"}
#: entries of a tensor for each block, and blocks and tensors in a launch over lists of tensors
_CHUNK, _BLOCKS, _TENSORS = 65536, 320, {1: 110, 2: 64, 3: 48, 4: 36}


@dataclass
class Operations:
    """Kernels, bytes that they read or write, floating-point operations, and kernels by name."""

    kernels: int = 0
    bytes: int = 0
    flops: int = 0
    by_name: Counter[str] = field(default_factory=Counter)

    def add(self, name: str, kernels: int, size: int, flops: int = 0) -> None:
        self.kernels += kernels
        self.bytes += size
        self.flops += flops
        self.by_name[name] += kernels


def count_step(shape: StepShape, encoding: Spec, *, kernels: bool = True) -> Operations:
    """The operations of a training step in bfloat16 on a GPU, without gradient accumulation.

    Args:
        kernels: whether Triton's kernels are used, or torch's own operations only.
    """
    with torch.device("meta"):
        # not computed, as weights have no values
        model = Transformer(shape.model(), encoding)
    model.to("meta")
    sizes = shape.model()
    if sizes.causal:
        inputs = torch.empty(shape.batch, *shape.tokens, dtype=torch.int64, device="meta")
        targets = inputs.flatten()
    else:
        inputs = torch.empty(shape.batch, sizes.channels, *sizes.grid, device="meta")
        targets = torch.empty(shape.batch, dtype=torch.int64, device="meta")
    counted = Operations()
    # what is cached between steps is not counted
    model.positions(model.token_grid, torch.device("meta"))
    with ExitStack() as stack:
        stack.enter_context(assume_available() if kernels else nullcontext())
        stack.enter_context(mock.patch.object(torch, "autocast", _Autocast))
        stack.enter_context(_Counter(counted))
        stack.enter_context(_AsOnCUDA())
        with _Autocast("meta", enabled=True):
            logits = model(inputs)
        loss = F.cross_entropy(logits.float().flatten(0, -2), targets)
        loss.backward()
    _count_optimizer(counted, list(model.parameters()))
    return counted


class _Autocast:
    """Whether ``_AsOnCUDA`` casts, in place of ``torch.autocast``, which has no such device."""

    enabled = False

    def __init__(self, device: str, dtype: torch.dtype | None = None, enabled: bool = True) -> None:
        self._enabled, self._before = enabled, False

    def __enter__(self) -> None:
        self._before, _Autocast.enabled = _Autocast.enabled, self._enabled

    def __exit__(self, *error: object) -> None:
        _Autocast.enabled = self._before


class _AsOnCUDA(TorchFunctionMode):
    """Casts arguments as CUDA's autocast, and calls FlashAttention."""

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            return _attention(*args, **kwargs)
        if _Autocast.enabled and (func in _NARROW or func in _WIDE):
            dtype = torch.bfloat16 if func in _NARROW else torch.float32
            args = [_cast(x, dtype) for x in args]
            kwargs = {name: _cast(x, dtype) for name, x in kwargs.items()}
        return func(*args, **kwargs)


def _cast(x: Any, dtype: torch.dtype) -> Any:
    return x.to(dtype) if isinstance(x, Tensor) and x.is_floating_point() else x


def _attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    dtype = torch.bfloat16 if _Autocast.enabled else q.dtype
    q, k, v = (x.to(dtype) for x in (q, k, v))
    aten = torch.ops.aten
    if attn_mask is None:
        flash = aten._scaled_dot_product_flash_attention
        return cast(Tensor, flash(q, k, v, dropout_p, is_causal, scale=scale)[0])
    mask = attn_mask
    if mask.dtype == torch.bool:
        mask = torch.zeros_like(mask, dtype=dtype).masked_fill(~mask, -math.inf)
    mask = mask.to(dtype).expand(*q.shape[:2], *mask.shape[-2:])
    efficient = aten._scaled_dot_product_efficient_attention
    return cast(Tensor, efficient(q, k, v, mask, True, dropout_p, is_causal, scale=scale)[0])


class _Counter(TorchDispatchMode):
    def __init__(self, counted: Operations) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._counted = counted

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        packet = func._overloadpacket
        name = packet._qualified_op_name.removeprefix("aten::")
        if name in _FREE or _is_view(func):
            return out
        if packet in flop_registry:
            flops = flop_registry[packet](*args, **kwargs, out_val=out)
        else:
            flops = _flops_of(name, args)
        self._counted.add(name, 1, _bytes_of(func, name, args, kwargs, out), int(flops))
        return out


def _is_view(func: Any) -> bool:
    returns = [x.alias_info for x in func._schema.returns]
    return func._overloadpacket in (torch.ops.aten._unsafe_view, torch.ops.aten.lift_fresh) or (
        bool(returns) and all(x is not None and not x.is_write for x in returns)
    )


def _bytes_of(func: Any, name: str, args: Sequence[Any], kwargs: dict[str, Any], out: Any) -> int:
    if name.startswith("liere::"):
        return _kernel_bytes(name.removeprefix("liere::"), args, out)
    total = 0
    for argument, value in zip(func._schema.arguments, args, strict=False):
        written = argument.alias_info is not None and argument.alias_info.is_write
        if name in _FILLS or (written and name in _OVERWRITES):
            continue
        total += sum(map(_size, tree_leaves(value)))
    total += sum(map(_size, tree_leaves(list(kwargs.values()))))
    return total + sum(map(_size, tree_leaves(out)))


def _size(x: Any) -> int:
    """Bytes of a tensor in memory: dimensions of stride 0 have one element."""
    if not isinstance(x, Tensor):
        return 0
    pairs = zip(x.shape, x.stride(), strict=True)
    return math.prod(size for size, stride in pairs if stride or not size) * x.element_size()


def _kernel_bytes(name: str, args: Sequence[Any], out: Any) -> int:
    """What a Triton kernel reads and writes."""
    if name == "rotate_planes_":
        qkv, table, _ = args  # queries and keys, but not values
        return 2 * 2 * _size(qkv) // 3 + _size(table)
    if name == "rotate_planes_backward":
        q, k, v, table, saved, _ = args
        grads = sum(map(_size, (q, k, v, table, *out)))
        return grads + (0 if saved is None else 2 * _size(saved) // 3)
    if name == "rotate_blocks_backward":
        rotations, grad, target, saved, total, add = args
        read = sum(map(_size, (rotations, grad, target, saved, total)))
        return read + (_size(total) if add else 0)
    if name == "rotate_blocks_":
        rotations, x = args
        return _size(rotations) + 2 * _size(x)
    return sum(map(_size, tree_leaves((args, out))))


def _flops_of(name: str, args: Sequence[Any]) -> float:
    """Of products in Triton's kernels, in 2 for a multiplication and an addition; 0 for others."""
    if name in ("liere::skew_exp", "liere::skew_exp_backward"):
        products = 3 + SQUARINGS if name == "liere::skew_exp" else 8 + 3 * SQUARINGS
        return 2.0 * products * int(args[0].numel() * args[0].shape[-1])
    if name.startswith("liere::rotate_blocks"):
        rotations, x = args[:2]
        each = 2.0 * int(x.numel() * rotations.shape[-1])
        return 2 * each if name.endswith("backward") else each
    return 0.0


def _count_optimizer(counted: Operations, parameters: Sequence[Tensor]) -> None:
    """Clipping of the gradient's norm and AdamW, as torch launches them over lists of tensors."""
    sizes = [parameter.numel() for parameter in parameters]
    every = 4 * sum(sizes)
    counted.add("clip: norms", _launches(sizes, 1) + 1, every)
    counted.add("clip: norm and factor", 5, 8 * len(sizes))
    counted.add("clip: scale", _launches(sizes, 1), 2 * every)
    # parameter, gradient and two moments are read; all but the gradient are written
    counted.add("adamw", _launches(sizes, 4) + 1, 7 * every)


def _launches(sizes: Sequence[int], lists: int) -> int:
    """Kernels over that many lists of tensors of these sizes (multi_tensor_apply in ATen)."""
    launches = tensors = blocks = 0
    for size in sizes:
        tensors += 1
        for _ in range(-(-size // _CHUNK)):
            blocks += 1
            if blocks == _BLOCKS:
                launches, tensors, blocks = launches + 1, 1, 0
        if tensors == _TENSORS[lists]:
            launches, tensors, blocks = launches + 1, 0, 0
    return launches + bool(blocks)
