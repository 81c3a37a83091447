"""Evaluates a model on a split, at the trained or another length or resolution."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import zip_longest

import torch
from torch import Tensor
from torch.nn import functional as F

from liere_cli.data import ByteStream, Dataset, Examples
from liere_cli.data.batches import evaluation_batches, evaluation_parts, evenly_spaced
from liere_cli.data.patch_shuffle import orders, shuffled
from liere_cli.errors import LiereError
from liere_cli.evaluation.text_scores import text_scores
from liere_cli.model import Transformer
from liere_cli.utils.devices import send
from liere_cli.utils.distributed import ALONE, Ranks

#: tokens or pixels in one evaluation batch on a CPU; bounds memory, does not change results
BATCH_VALUES = 1 << 19
#: bytes of a batch's activations on a GPU: not of the card, so that all compute the same batches
DEVICE_BATCH_BYTES = 2 << 30
#: weight of a byte of text in that bound, since a language model's logits need most memory
VALUES_PER_BYTE = 32
#: classes of a language model that add one to that weight
CLASSES_PER_VALUE = 64


@dataclass(frozen=True)
class Evaluation:
    """Results of one pass over a split.

    Args:
        value: bits per byte or token, or top-1 accuracy as a share of 1.
        loss: mean cross-entropy in nats for each of ``count``, without label smoothing.
        count: number of predicted bytes (or tokens, where their bytes aren't known), or of items.
        items: tensors [items] in the split's order: ``loss`` float32 (nats, summed over a block's
            bytes), ``weight`` int32 (bytes of the block, 1 for an item), ``group`` int64, and for
            classification ``correct`` uint8. Blocks of text with documents are divided at
            documents, which are the groups.
        passes: items, or windows of text, that the model was run on.
    """

    value: float
    loss: float
    count: int
    items: dict[str, Tensor]
    passes: int

    @property
    def finite(self) -> bool:
        return math.isfinite(self.loss)


@torch.no_grad()
def evaluate(
    model: Transformer,
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
        grid: extent of the examples; for text the length of the window.
        precision: ``bfloat16`` autocasts, ``float32`` does not.
        limit: maximum items or blocks, evenly spaced.
        block: of text, bytes at the end of a window that it predicts; None: all of them.
        positions: [tokens, axes] of the grid; None: the model's own.
        shuffle: extent of a patch, to permute each item's patches; None: not permuted.
        before_batch: called before each batch, equally often on all ranks; may raise to stop.
        ranks: share the batches, which are those of one process, and all return the result.
    """
    was_training = model.training
    model.eval()
    text = examples if isinstance(examples, ByteStream) else None
    views = 1 if isinstance(examples, ByteStream) else examples.views
    batch_size = max(1, evaluation_batch(model, dataset, grid, device) // views)
    context = grid[0] if text else None
    turns = slice(ranks.rank, None, ranks.size)
    batches = evaluation_batches(
        examples, batch_size=batch_size, context=context, block=block, limit=limit,
        mean=dataset.mean, std=dataset.std, device=device, turns=turns,
    )  # fmt: skip
    parts = evaluation_parts(
        examples, batch_size=batch_size, context=context, block=block, limit=limit
    )
    rounds = math.ceil(len(parts) / ranks.size)
    results = []
    try:
        with model.states.enabled():
            for _, part in zip_longest(range(rounds), parts[turns]):
                before_batch()
                if part is None:
                    break  # the last round has no batch for this rank
                inputs, targets = next(batches)
                if shuffle is not None:
                    patches = math.prod(grid) // math.prod(shuffle)
                    order = orders(part.items.repeat_interleave(views), patches)
                    inputs = shuffled(inputs, shuffle, send(order, device))
                used = positions
                if positions is not None and text and inputs.shape[1] < len(positions):
                    used = positions[: inputs.shape[1]]
                documents = text.documents(inputs) if text else None
                given = {} if documents is None else {"documents": documents}
                with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
                    logits = model(inputs, used, **given)
                if text is None:
                    results.append(_scores(logits, targets, views))
                else:
                    predicted = logits[:, -targets.shape[1] :]
                    results.append(text_scores(text, part, predicted, targets))
    finally:
        model.train(was_training)
    items = _in_order(results, ranks)
    return _evaluation(items, examples, limit, sum(len(part.items) for part in parts))


def _evaluation(
    items: dict[str, Tensor], examples: ByteStream | Examples, limit: int | None, passes: int
) -> Evaluation:
    """From the results of all items, in order; adds their groups."""
    count = int(items["weight"].sum())
    if not count:
        raise LiereError("the text to evaluate has separators of documents alone")
    mean_loss = float(items["loss"].double().sum()) / count
    if isinstance(examples, ByteStream):
        if "group" not in items:
            items["group"] = torch.arange(len(items["loss"]))
        return Evaluation(mean_loss / math.log(2), mean_loss, count, items, passes)
    evaluated = evenly_spaced(len(examples), limit).to(examples.groups.device)
    items["group"] = examples.groups[evaluated].cpu()
    return Evaluation(float(items["correct"].double().mean()), mean_loss, count, items, passes)


def evaluation_batch(
    model: Transformer, dataset: Dataset, grid: tuple[int, ...], device: torch.device
) -> int:
    """Inputs or windows in one batch: by values of the input on a CPU, on a GPU by the largest
    activations of a layer and the logits.
    """
    text = dataset.task == "language-model"
    if device.type == "cpu":
        weight = max(VALUES_PER_BYTE, dataset.classes // CLASSES_PER_VALUE)
        size = math.prod(grid) * (weight if text else dataset.channels)
        return max(1, BATCH_VALUES // size)
    shape = model.shape
    # the residual stream, its norm, queries, keys, values and their rotated forms; twice the MLP
    values = 8 * shape.dim + 2 * shape.hidden + (2 * shape.classes if text else 0)
    return max(1, DEVICE_BATCH_BYTES // (4 * values * math.prod(shape.tokens(grid))))


def _scores(logits: Tensor, targets: Tensor, views: int) -> dict[str, Tensor]:
    """Results per item [batch] of logits [batch * views, classes], with the mean of the
    probabilities of an item's views.
    """
    if views > 1:
        probabilities = logits.double().softmax(-1).unflatten(0, (len(targets), views))
        logits = probabilities.mean(1).log()
    return {
        "loss": F.cross_entropy(logits.float(), targets, reduction="none"),
        "weight": torch.ones(len(targets), dtype=torch.int32),
        "correct": (logits.argmax(-1) == targets).byte(),
    }


def _in_order(results: list[dict[str, Tensor]], ranks: Ranks) -> dict[str, Tensor]:
    """Results of all ranks' batches, mappings of tensors [batch], as tensors [items]."""
    on_cpu = [{name: value.cpu() for name, value in batch.items()} for batch in results]
    rounds = zip_longest(*ranks.gather(on_cpu))
    batches = [batch for turn in rounds for batch in turn if batch is not None]
    return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
