"""A training step on the device ``meta``, whose tensors have no values: reading one raises.

Everything that is chosen by device is chosen as on a GPU, since ``meta`` is no CPU.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

META = torch.device("meta")
#: operations whose result needs a value on the host, or whose shape depends on values
READS = {
    "_local_scalar_dense", "item", "nonzero", "masked_select", "is_nonzero", "equal",
    "unique_consecutive", "_unique2", "repeat_interleave",
}  # fmt: skip
#: methods of a tensor that read values, or copy to the host
METHODS = {"item", "tolist", "numpy", "cpu", "__bool__", "__float__", "__int__", "__index__"}


class HostReads(TorchDispatchMode):
    """Records the names of all operations, and of those that make the host wait."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.waits: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        name = func.overloadpacket.__name__
        self.names.add(name)
        kwargs = kwargs or {}
        to_cpu = name == "_to_copy" and kwargs.get("device") == torch.device("cpu")
        if (name in READS or to_cpu) and _on_device(args):
            self.waits.append(name)
        return func(*args, **kwargs)


class HostMethods(TorchFunctionMode):
    """Records methods that read values, and copies from pageable memory to the device."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        name = getattr(func, "__name__", str(func))
        kwargs = kwargs or {}
        if name in METHODS and _on_device(args):
            self.waits.append(name)
        if name in ("tensor", "as_tensor") and torch.device(kwargs.get("device") or "cpu") == META:
            self.waits.append(f"{name} with a device")
        targets = (*args[1:], kwargs.get("device"))
        from_host = name == "to" and isinstance(args[0], Tensor) and args[0].device.type == "cpu"
        if from_host and any(isinstance(x, torch.device) and x == META for x in targets):
            self.waits.append("copy of pageable memory")
        return func(*args, **kwargs)


def _on_device(args: Any) -> bool:
    return any(isinstance(x, Tensor) and x.device == META for x in args)


class _Autocast(torch.autocast):
    """autocast knows no device ``meta``: there it is off."""

    def __init__(self, device_type: str, *args: Any, **kwargs: Any) -> None:
        if device_type == "meta":
            super().__init__("cpu", enabled=False)
        else:
            super().__init__(device_type, *args, **kwargs)


def send_to_meta(values: Tensor, device: torch.device) -> Tensor:
    """As :func:`liere_cli.utils.devices.send`, which copies from pinned memory."""
    return torch.empty_like(values, device=device) if device == META else values.to(device)


@contextmanager
def without_values() -> Iterator[None]:
    """Makes what training uses work on ``meta``: autocast, copies to the device, the optimizer."""
    import liere_cli.data.batches
    import liere_cli.training.step

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "autocast", _Autocast)
        for module in (liere_cli.data.batches, liere_cli.training.step):
            patch.setattr(module, "send", send_to_meta)
        adamw = torch.optim.AdamW

        def unfused(*args: Any, fused: bool = False, **kwargs: Any) -> torch.optim.Optimizer:
            return adamw(*args, foreach=True, **kwargs)

        patch.setattr(torch.optim, "AdamW", unfused)
        yield
