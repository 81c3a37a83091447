"""C structs that are declared once more here for ctypes, and the check that both agree."""

import ctypes
from typing import Any

from torch import Tensor

POINTER, SIZE = ctypes.c_void_p, ctypes.c_ssize_t


def fields(kind: Any, names: str) -> list[tuple[str, Any]]:
    """Fields of one type."""
    return [(name, kind) for name in names.split()]


class Strided(ctypes.Structure):
    """[B, N, S, H] with strides and contiguous channels: ``strided`` in structs.h."""

    _fields_ = (("data", POINTER), *fields(SIZE, "batch head token"))

    def point_to(self, x: Tensor, tokens: int) -> None:
        """Describes the last ``tokens`` of a tensor, which must stay alive."""
        self.batch, self.head, self.token, _ = x.stride()
        self.data = x.data_ptr() + (x.shape[2] - tokens) * self.token * x.element_size()


def check_layout(library: ctypes.CDLL, file: str, struct: type[ctypes.Structure]) -> None:
    """Compares a struct, such as ``_Task``, with the table of its size and field offsets in a
    compiled file, such as ``task_layout``. Raises RuntimeError: the file has no such table, or
    size, number of fields or an offset differ.
    """
    name = struct.__name__.strip("_").lower()
    here = [ctypes.sizeof(struct), *(getattr(struct, field[0]).offset for field in struct._fields_)]
    try:
        count = ctypes.c_size_t.in_dll(library, f"{name}_layout").value
        table = (ctypes.c_size_t * (1 + count)).in_dll(library, f"{name}_layout")
    except ValueError:
        raise RuntimeError(f"{file} exports no {name}_layout to check its struct by") from None
    if here != table[1:]:
        raise RuntimeError(
            f"struct {name}: {file} has size and offsets {table[1:]}, "
            f"{struct.__module__}.{struct.__qualname__} has {here}"
        )
