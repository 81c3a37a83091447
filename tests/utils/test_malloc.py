"""Errors where memory is short."""

import pytest
import torch

from liere_cli.errors import LiereError
from liere_cli.utils.malloc import memory_errors_reported


def test_what_cannot_be_allocated_is_one_sentence() -> None:
    def allocate(size: int) -> None:
        with memory_errors_reported("use less"):
            torch.empty(size)

    with pytest.raises(LiereError, match=r"memory is too short for [0-9.]+ GiB; use less"):
        allocate(1 << 50)


@pytest.mark.parametrize(
    ("message", "size"),
    [
        ("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has", "2.50 GiB"),
        ("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1073741824 bytes",
         "1.00 GiB"),
    ],
)  # fmt: skip
def test_the_size_is_read_from_messages_of_torch(message: str, size: str) -> None:
    with pytest.raises(LiereError, match=size), memory_errors_reported("use less"):
        raise RuntimeError(message)


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="shapes differ"), memory_errors_reported("use less"):
        raise RuntimeError("shapes differ")
