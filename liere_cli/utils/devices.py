"""Copies between devices, and what they compute natively."""

import torch
from torch import Tensor

CPU = torch.device("cpu")


def send(values: Tensor, device: torch.device) -> Tensor:
    """``values`` on a device; a copy to a GPU overlaps with its work, and nothing waits for it."""
    if device.type == "cuda" and values.device.type == "cpu":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device computes in bfloat16 natively, which NVIDIA's do from Ampere (2020) on.

    True for a CUDA device of another machine, where this one has none.
    """
    if device.type != "cuda":
        return False
    if not torch.cuda.is_available():
        return True
    with torch.cuda.device(device):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
