"""timm and transformers, where they are installed."""

import importlib
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any
from unittest import mock

import pytest


class _StandIn(type):
    """A class that has every attribute."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _StandIn(name, (), {})


class _Torchvision:
    """Finds empty modules for torchvision, which timm imports for models that are not tested here:
    it would bring another torch, so timm is installed without it.
    """

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        found = name.partition(".")[0] == "torchvision"
        return ModuleSpec(name, self, is_package=True) if found else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = ModuleType(spec.name)
        module.__getattr__ = _StandIn("torchvision", (), {}).__getattr__  # type: ignore[method-assign]
        return module

    def exec_module(self, module: ModuleType) -> None:
        pass


def imported(name: str) -> Any:
    """The module; ImportError where it is not installed."""
    if name in sys.modules or name != "timm":
        return importlib.import_module(name)
    with (
        mock.patch.dict(sys.modules),
        mock.patch("sys.meta_path", [_Torchvision(), *sys.meta_path]),
    ):
        importlib.import_module("timm")
        loaded = {key: module for key, module in sys.modules.items() if "torchvision" not in key}
    sys.modules.update(loaded)
    return sys.modules["timm"]


def library(name: str) -> Any:
    """As ``imported``; skips a test where it is not installed."""
    try:
        return imported(name)
    except ImportError as error:
        pytest.skip(f"{name} can't be imported: {error}")
