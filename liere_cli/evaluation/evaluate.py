"""Metrics of a model on a split, at the trained or another length or resolution."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import zip_longest

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from liere_cli.data import ByteStream, Dataset, Examples
from liere_cli.data.batches import evaluation_batches, evaluation_parts, evenly_spaced
from liere_cli.data.patch_shuffle import orders, shuffled
from liere_cli.utils.distributed import ALONE, Ranks

#: tokens or pixels in one evaluation batch; bounds memory, does not change a number
BATCH_VALUES = 1 << 19
#: a language model's logits outweigh everything else in memory, so that a byte counts more
VALUES_PER_BYTE = 32


@dataclass(frozen=True)
class Evaluation:
    """What one pass over a split measured.

    Args:
        value: bits per byte, or the share of items whose best guess is right (top-1).
        loss: mean cross-entropy in nats, without label smoothing.
        count: bytes predicted, or items.
        items: per item, in the split's order: ``loss`` float32 (nats, summed over a block's
            bytes), ``weight`` int32 (bytes of the block, 1 for an item), ``group`` int64, and for
            classification ``correct`` uint8.
    """

    value: float
    loss: float
    count: int
    items: dict[str, Tensor]

    @property
    def finite(self) -> bool:
        return math.isfinite(self.loss)


@torch.no_grad()
def evaluate(
    model: nn.Module,
    dataset: Dataset,
    examples: ByteStream | Examples,
    *,
    grid: tuple[int, ...],
    device: torch.device,
    precision: str,
    limit: int | None = None,
    block: int | None = None,
    positions: Tensor | None = None,
    shuffle: tuple[int, ...] | None = None,
    before_batch: Callable[[], None] = lambda: None,
    ranks: Ranks = ALONE,
) -> Evaluation:
    """Runs the model over every item once.

    Args:
        grid: extent of the examples; for text the window that the model reads.
        precision: ``bfloat16`` autocasts, ``float32`` does not.
        limit: at most so many items or blocks, evenly spaced.
        block: of text, bytes at the end of a window that it predicts; None: all of them.
        positions: [T, A] of the grid's tokens; None: the model's own.
        shuffle: a patch's extent: each item's patches change places; None: they stay.
        before_batch: called before each batch, by all ranks equally often; may raise to stop.
        ranks: take turns at the batches, which are those of one process, and all get the result.
    """
    was_training = model.training
    model.eval()
    text = isinstance(examples, ByteStream)
    size = math.prod(grid) * (VALUES_PER_BYTE if text else dataset.channels)
    batch_size, context = max(1, BATCH_VALUES // size), grid[0] if text else None
    turns = slice(ranks.rank, None, ranks.size)
    batches = evaluation_batches(
        examples,
        batch_size=batch_size,
        context=context,
        block=block,
        mean=dataset.mean,
        std=dataset.std,
        device=device,
        limit=limit,
        turns=turns,
    )
    parts = evaluation_parts(
        examples, batch_size=batch_size, context=context, block=block, limit=limit
    )
    rounds = math.ceil(len(parts) / ranks.size)
    results = []
    try:
        for _, part in zip_longest(range(rounds), parts[turns]):
            before_batch()
            if part is None:
                break  # the last round has no batch left for this rank
            inputs, targets = next(batches)
            if shuffle is not None:
                patches = math.prod(grid) // math.prod(shuffle)
                inputs = shuffled(inputs, shuffle, orders(part.items, patches).to(device))
            own = positions if positions is None or not text else positions[: inputs.shape[1]]
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
                logits = model(inputs, own)
            if text:
                logits = logits[:, -targets.shape[1] :]
            loss = F.cross_entropy(
                logits.float().flatten(0, -2), targets.flatten(), reduction="none"
            )
            results.append(
                {
                    "loss": loss.view(len(inputs), -1).sum(1),
                    "weight": torch.full((len(inputs),), targets[0].numel(), dtype=torch.int32),
                    **({} if text else {"correct": (logits.argmax(-1) == targets).byte()}),
                }
            )
    finally:
        model.train(was_training)
    items = _in_order(results, ranks)
    count = int(items["weight"].sum())
    mean_loss = float(items["loss"].double().sum()) / count
    if isinstance(examples, ByteStream):
        items["group"] = torch.arange(len(items["loss"]))
        return Evaluation(mean_loss / math.log(2), mean_loss, count, items)
    items["group"] = examples.groups[
        evenly_spaced(len(examples), limit).to(examples.groups.device)
    ].cpu()
    return Evaluation(float(items["correct"].double().mean()), mean_loss, count, items)


def _in_order(results: list[dict[str, Tensor]], ranks: Ranks) -> dict[str, Tensor]:
    """Results of all batches, each a mapping of tensors [B], as tensors over all items."""
    own = [{name: value.cpu() for name, value in one.items()} for one in results]
    every = ranks.gather(own)
    batches = [one for turn in zip_longest(*every) for one in turn if one is not None]
    return {name: torch.cat([one[name] for one in batches]) for name in batches[0]}
