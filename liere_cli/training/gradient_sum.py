"""Gradients summed over ranks, in buckets that are reduced while the backward pass continues."""

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn

from liere_cli.utils.distributed import Ranks, collective

#: of gradients in one reduction: large enough for the network, small enough to begin early
BUCKET_BYTES = 25 << 20


class GradientSum:
    """Replaces every gradient by its sum over ranks, once a step.

    Buckets are filled from the last parameter to the first, which is about the order in which their
    gradients are computed, and reduced in that order on all ranks. Ranks must compute gradients of
    the same parameters. Does nothing with one rank.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], ranks: Ranks) -> None:
        self.ranks = ranks
        self.buckets: list[list[nn.Parameter]] = []
        self._bucket_of: dict[nn.Parameter, int] = {}
        self._missing: list[int] = []
        self._reductions: list[tuple[list[Tensor], Tensor, dist.Work | None]] = []
        self._armed = False
        self._loss = torch.zeros(())
        if ranks.size == 1:
            return
        size = BUCKET_BYTES
        for parameter in reversed([p for p in parameters if p.requires_grad]):
            if size >= BUCKET_BYTES:
                self.buckets.append([])
                size = 0
            size += parameter.nbytes
            self._bucket_of[parameter] = len(self.buckets) - 1
            self.buckets[-1].append(parameter)
            parameter.register_post_accumulate_grad_hook(self._computed)

    def begin(self, loss: Tensor) -> None:
        """Before the last backward pass of a step; ``loss``, [], is summed too."""
        self._loss = loss
        self._missing = [len(bucket) for bucket in self.buckets]
        self._armed = self.ranks.size > 1

    def finish(self) -> Tensor:
        """After that backward pass: waits for all sums; returns that of the loss, []."""
        if not self._armed:
            return self._loss
        self._armed = False
        while len(self._reductions) < len(self.buckets):
            self._reduce()  # where some parameters have no gradient
        total = self._loss
        for gradients, flat, reduction in self._reductions:
            if reduction is None:
                continue
            with collective():
                reduction.wait()
            sizes = [gradient.numel() for gradient in gradients]
            for gradient, part in zip(gradients, flat.split(sizes), strict=True):
                gradient.copy_(part.view_as(gradient))
        self._reductions.clear()
        return total

    def _computed(self, parameter: nn.Parameter) -> None:
        if not self._armed:
            return
        self._missing[self._bucket_of[parameter]] -= 1
        while len(self._reductions) < len(self.buckets):
            if self._missing[len(self._reductions)]:
                return
            self._reduce()

    def _reduce(self) -> None:
        """Starts to reduce the next bucket; the first one contains the loss."""
        bucket = self.buckets[len(self._reductions)]
        parts = [parameter.grad for parameter in bucket if parameter.grad is not None]
        if not self._reductions:
            self._loss = self._loss.clone()
            parts.append(self._loss)
        if not parts:
            self._reductions.append((parts, torch.empty(0), None))
            return
        flat = torch.cat([part.flatten() for part in parts])
        with collective():
            reduction = dist.all_reduce(flat, async_op=True)
        self._reductions.append((parts, flat, reduction))
