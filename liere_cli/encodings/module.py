"""How an encoding is constructed, converted, moved and restored, whatever torch's defaults are."""

import functools
from abc import ABCMeta
from collections.abc import Callable
from copy import deepcopy
from typing import Any, Self

import torch
from torch import Tensor, nn

from liere_cli.errors import UsageError
from liere_cli.utils.torch_modes import cpu_float32


class _Constructed(ABCMeta):
    """Constructs in float32 on the CPU, then moves to torch's default device, such as meta."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        device = torch.get_default_device()
        with cpu_float32():
            module = super().__call__(*args, **kwargs)
        module._arguments = (args, kwargs)
        return module if device.type == "cpu" else module.to(device)


class EncodingModule(nn.Module, metaclass=_Constructed):
    """Parameters and buffers are float32, also after ``.to(torch.bfloat16)`` or ``.half()``, which
    convert the rest of a model: angles and frequencies have too few digits in half precision.
    ``.double()`` converts them. Buffers that are not in ``state_dict`` have their values again
    after ``to_empty``, and after ``load_state_dict(assign=True)`` on the meta device.
    """

    #: positional and named ones, of which it is constructed again
    _arguments: tuple[tuple[Any, ...], dict[str, Any]]

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        if "initialise" in vars(cls):
            cls.initialise = _on_cpu(vars(cls)["initialise"])  # type: ignore[attr-defined]

    def __init__(self) -> None:
        super().__init__()
        self.register_load_state_dict_post_hook(_materialise)  # type: ignore[no-untyped-call]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """What ``to``, ``cuda``, ``to_empty`` and the like apply to every tensor."""
        emptied = getattr(fn, "__qualname__", "").startswith("Module.to_empty.")
        before = self._unsaved()

        def applied(x: Tensor) -> Tensor:
            y = fn(x)
            narrower = x.is_floating_point() and y.element_size() < 4 <= x.element_size()
            return x.to(y.device) if narrower else y

        super()._apply(applied, recurse)  # type: ignore[no-untyped-call]
        after = self._unsaved()
        lost = [name for name, x in before.items() if emptied or x.is_meta > after[name].is_meta]
        self._restore([name for name in lost if not after[name].is_meta])
        return self

    def _unsaved(self) -> dict[str, Tensor]:
        """The buffers that are not in ``state_dict``."""
        buffers = dict(self.named_buffers())
        return {name: buffers[name] for name in buffers.keys() - self.state_dict().keys()}

    def _restore(self, names: list[str]) -> None:
        """Copies buffers from a new instance; the state of the random generator is kept."""
        if not names:
            return
        with cpu_float32(), torch.random.fork_rng(devices=[]):
            args, kwargs = self._arguments
            fresh = dict(type(self)(*args, **kwargs).named_buffers())
        buffers = dict(self.named_buffers())
        for name in names:
            if name not in fresh:
                raise UsageError(
                    f"encoding '{getattr(self, 'name', type(self).__name__)}': buffer '{name}' is "
                    "neither in state_dict nor made by the constructor, so it can't be restored "
                    "after to_empty"
                )
            with torch.no_grad():
                buffers[name].copy_(fresh[name])


def _on_cpu(initialise: Callable[..., None]) -> Callable[..., None]:
    """An ``initialise`` that draws on the CPU, where its generators are, on any device."""

    @functools.wraps(initialise)
    def called(self: EncodingModule, *args: Any, **kwargs: Any) -> None:
        devices = {x.device.type for x in self.state_dict().values()}
        with cpu_float32():
            if devices <= {"cpu"}:
                initialise(self, *args, **kwargs)
                return
            copy = deepcopy(self)
            copy = copy.to_empty(device="cpu") if "meta" in devices else copy.to("cpu")
            initialise(copy, *args, **kwargs)
            drawn = copy.state_dict()
            for name, value in self.state_dict().items():
                value.copy_(drawn[name])

    return called


def _materialise(module: EncodingModule, _incompatible_keys: object) -> None:
    """After loading: buffers that are still on the meta device move to that of what was loaded."""
    meta = [name for name, x in module._unsaved().items() if x.is_meta]
    loaded = [x.device for x in module.state_dict().values()]
    if not meta or any(device.type == "meta" for device in loaded):
        return
    device = loaded[0] if loaded else torch.device("cpu")
    for name in meta:
        owner, _, leaf = name.rpartition(".")
        buffers = module.get_submodule(owner)._buffers
        buffers[leaf] = torch.empty_like(module.get_buffer(name), device=device)
    module._restore(meta)
