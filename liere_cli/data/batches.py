"""Batches for training and evaluation, made without a Python loop over items.

Shapes: B batch, T tokens of a window, C channels, A axes of the grid, N items.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from liere_cli.data.augment.mixing import mixed
from liere_cli.data.augment.settings import Augmentation, draw_views
from liere_cli.data.base import ByteStream, Encoded, Examples, numbers
from liere_cli.data.feeding.ahead import Ahead, Buffers, each_ahead
from liere_cli.data.feeding.gather import gather, prepares_ahead
from liere_cli.errors import LiereError, UsageError
from liere_cli.utils.devices import send
from liere_cli.utils.seeding import stream

Batch = tuple[Tensor, Tensor]
#: a step, and the first and last row of its batch
_Rows = tuple[int, int, int]


#: a split smaller than this is kept on the device
DEVICE_BYTES = 4 << 30


def placed(examples: ByteStream | Examples, device: torch.device) -> ByteStream | Examples:
    """A split, on the device where it is small enough; batches are sent to the device otherwise."""
    data = examples.data if isinstance(examples, ByteStream) else examples.inputs
    fits = isinstance(data, Tensor) and data.nbytes <= DEVICE_BYTES
    return examples.to(device) if fits else examples


class TrainingBatches:
    """Training batches, each a function of the seed and the step alone, so that resuming is exact.

    Text: windows at random positions. Classification: every epoch has all items in a new random
    order, with random translation, flips and further augmentation if enabled. The order is drawn
    from the stream ``order``, translation and flips from ``augment``, the rest from streams of its
    own. Threads compute what was drawn, so that batches do not depend on their number; where that
    is worth while, the next batch is prepared beside the present step.

    Args:
        examples: the training split; batches are gathered on its device, so move small sets to
            ``device`` beforehand.
        context: bytes in one window; for text only.
        mean, std: of each channel, of pixel values divided by 255.
        flips: flip half of the items along the last axis.
        shift: largest translation in pixels along the last two axes; the border is filled with the
            mean colour.
        augmentation: of images, beside flips and shifts.
        classes: number of classes, for mixup and cutmix.

    Raises:
        UsageError: the text is shorter than one window.
        LiereError: there are no items, or random crops of items that are not decoded here.
    """

    def __init__(
        self,
        examples: ByteStream | Examples,
        *,
        batch_size: int,
        seed: int,
        context: int | None = None,
        mean: Sequence[float] = (0.5,),
        std: Sequence[float] = (0.5,),
        flips: bool = False,
        shift: int = 0,
        augmentation: Augmentation = Augmentation(),  # noqa: B008
        classes: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        if batch_size < 1:
            raise UsageError(f"the batch size is {batch_size}, but at least 1 is needed")
        self.examples = examples
        self.batch_size = batch_size
        self.seed = seed
        self.context = _context_of(examples, context)
        self.flips = flips
        self.shift = shift
        self.augmentation = augmentation
        self.classes = classes
        self.device = torch.device(device)
        self._ahead: Ahead[_Rows, _Prepared] | None = None
        if isinstance(examples, ByteStream):
            if len(examples) <= self.context:
                raise UsageError(
                    f"the training text has {len(examples)} {examples.unit}, too few for one "
                    f"window of {self.context} {examples.unit} and its target: use a longer text "
                    "or a smaller grid"
                )
        elif len(examples) == 0:
            raise LiereError("the training split has no items")
        else:
            self._normalise = _Normaliser(examples, mean, std, self.device)
            self._prepare(examples)
        # a batch may contain items of two epochs
        self._permutation = lru_cache(maxsize=2)(self._permutation_of)

    def at(self, step: int, rows: slice = slice(None)) -> Batch:
        """Rows of the batch of ``step``: for text int64 [B, T] and the next bytes, int64 [B, T];
        for classification normalised float32 [B, C, *grid] and labels, int64 [B], or with mixup or
        cutmix probabilities of classes, float32 [B, classes].
        """
        if isinstance(self.examples, ByteStream):
            return self._text(self.examples, step, rows)
        return self._items(self.examples, step, rows)

    def _text(self, text: ByteStream, step: int, rows: slice) -> Batch:
        starts = torch.randint(
            len(text) - self.context, (self.batch_size,), generator=stream(self.seed, "order", step)
        )
        windows = _windows(text.data, starts[rows], self.context, self.device)
        return windows[:, :-1], windows[:, 1:]

    def _prepare(self, examples: Examples) -> None:
        """Sets up the thread that prepares batches, where one is worth while."""
        augmentation = self.augmentation
        if augmentation.crop is not None and not isinstance(examples.inputs, Encoded):
            raise LiereError("random crops need images that are decoded anew in each epoch")
        sampled = isinstance(examples.inputs, Encoded) and examples.inputs.sampled
        if not (augmentation.by_image or prepares_ahead(examples, self.device, self.batch_size)):
            return
        rows, pinned = self.batch_size + augmentation.mixes, self.device.type == "cuda"
        buffers = Buffers(rows, examples.inputs.shape[1:], pinned=pinned)

        def compute(key: _Rows, buffer: int) -> _Prepared:
            step, first, last = key
            members = self._members(first, last)
            views = None
            if augmentation.by_image or sampled:
                drawn = draw_views(augmentation, self.seed, step, self.batch_size)
                views = [drawn[member] for member in members.tolist()]
            chosen = self._chosen(step)[members]
            inputs = gather(examples, chosen, views, buffers.writable(buffer))
            return _Prepared(inputs, _labels(examples, chosen), buffers, buffer)

        self._ahead = Ahead(compute)

    def _items(self, examples: Examples, step: int, rows: slice) -> Batch:
        first, last, _ = rows.indices(self.batch_size)
        members = self._members(first, last)
        if self._ahead is not None:
            inputs, labels = self._ahead((step, first, last), (step + 1, first, last)).on(
                self.device
            )
        else:
            inputs, labels = _gather(examples, self._chosen(step)[members], self.device)
        inputs = self._moved(inputs, step, members)
        if not self.augmentation.mixes:
            return inputs, labels
        return mixed(inputs, labels, self.augmentation, self.classes, self.seed, step)

    def _members(self, first: int, last: int) -> Tensor:
        """Rows of the batch, int64, and before them the one that the first is mixed with."""
        return torch.arange(first - self.augmentation.mixes, last) % self.batch_size

    def _chosen(self, step: int) -> Tensor:
        """The items of the batch of ``step``, int64 [batch size]."""
        count = len(self.examples)
        first, last = step * self.batch_size, (step + 1) * self.batch_size
        parts = [
            self._permutation(epoch)[max(first - epoch * count, 0) : last - epoch * count]
            for epoch in range(first // count, (last - 1) // count + 1)
        ]
        return torch.cat(parts)

    def _moved(self, inputs: Tensor, step: int, members: Tensor) -> Tensor:
        """Normalised items, translated and flipped as drawn."""
        if not self.shift and not self.flips:
            return self._normalise(inputs)
        random = stream(self.seed, "augment", step)
        # both are always drawn, so that flips are the same with and without shifts
        shifts = torch.randint(-self.shift, self.shift + 1, (self.batch_size, 2), generator=random)
        mirrored = torch.rand(self.batch_size, generator=random) < (0.5 if self.flips else 0.0)
        shifts, mirrored = (send(drawn[members], self.device) for drawn in (shifts, mirrored))
        if not self.shift:
            shape = (-1, *[1] * (inputs.dim() - 1))
            return self._normalise(torch.where(mirrored.view(shape), inputs.flip(-1), inputs))
        moved, inside = _translate(inputs, shifts, mirrored)
        return self._normalise(moved) * inside

    def _permutation_of(self, epoch: int) -> Tensor:
        return torch.randperm(len(self.examples), generator=stream(self.seed, "order", epoch))


def evaluation_batches(
    examples: ByteStream | Examples,
    *,
    batch_size: int,
    context: int | None = None,
    block: int | None = None,
    mean: Sequence[float] = (0.5,),
    std: Sequence[float] = (0.5,),
    device: torch.device | str = "cpu",
    limit: int | None = None,
    turns: slice = slice(None),
) -> Iterator[Batch]:
    """Every item once, in order.

    Text is divided into blocks of bytes, so that every byte but the first is predicted exactly
    once, from the window of ``context`` bytes that ends before its block's last byte. Windows at
    the beginning and the last block may be shorter; these are separate batches.

    Args:
        block: at most ``context``; None: ``context``, so that windows do not overlap. The same
            block has the same targets for every context.
        limit: maximum number of blocks or items, evenly spaced over the split.
        turns: the batches of this process, where several processes share the work.

    Yields:
        The dtypes and shapes of :meth:`TrainingBatches.at`, of items with V views inputs of
        B * V and labels of B; with a ``block``, targets of text are
        int64 [B, block], those of the last bytes of the window.

    Raises:
        UsageError: text without a context.
        LiereError: there is nothing to evaluate.
    """
    device = torch.device(device)
    parts = evaluation_parts(
        examples, batch_size=batch_size, context=context, block=block, limit=limit
    )[turns]
    if isinstance(examples, ByteStream):
        for part in parts:
            windows = _windows(examples.data, part.items, part.length, device)
            yield windows[:, :-1], windows[:, -part.predicted :]
        return
    normalise = _Normaliser(examples, mean, std, device)
    for inputs, labels in _gathered_parts(examples, parts, batch_size, device):
        yield normalise(inputs), labels


def _gathered_parts(
    examples: Examples, parts: "Sequence[Part]", batch_size: int, device: torch.device
) -> Iterator[Batch]:
    if not prepares_ahead(examples, device, batch_size):
        yield from (_gather(examples, part.items, device) for part in parts)
        return
    rows, pinned = batch_size * examples.views, device.type == "cuda"
    buffers = Buffers(rows, examples.inputs.shape[1:], pinned=pinned)

    def compute(number: int, buffer: int) -> _Prepared:
        chosen = parts[number].items
        inputs = gather(examples, chosen, None, buffers.writable(buffer))
        return _Prepared(inputs, _labels(examples, chosen), buffers, buffer)

    for prepared in each_ahead(range(len(parts)), compute):
        yield prepared.on(device)


@dataclass(frozen=True)
class _Prepared:
    """A batch in a buffer."""

    inputs: Tensor
    labels: Tensor
    buffers: Buffers
    number: int

    def on(self, device: torch.device) -> Batch:
        """Inputs, which may be the buffer's own memory, and labels."""
        return self.buffers.send(self.inputs, self.number, device), send(self.labels, device)


@dataclass(frozen=True)
class Part:
    """One of the :func:`evaluation_batches`: items, or first bytes of windows of text, int64 [B];
    for text the input bytes of each window, and how many bytes it predicts.
    """

    items: Tensor
    length: int = 1
    predicted: int = 1


def evaluation_parts(
    examples: ByteStream | Examples,
    *,
    batch_size: int,
    context: int | None = None,
    block: int | None = None,
    limit: int | None = None,
) -> list[Part]:
    """The items of all :func:`evaluation_batches`; arguments and errors as there."""
    context = _context_of(examples, context)
    if not isinstance(examples, ByteStream):
        if len(examples) == 0:
            raise LiereError("the split to evaluate has no items")
        return [Part(items) for items in evenly_spaced(len(examples), limit).split(batch_size)]
    targets = len(examples) - 1
    if targets < 1:
        raise LiereError(f"a text of {len(examples)} {examples.unit} has nothing to predict")
    block = min(block or context, context)
    full, rest = divmod(targets, block)
    ends = evenly_spaced(full, limit) * block + block  # of each block's inputs
    # windows at the beginning of the text are shorter
    first = torch.zeros(1, dtype=torch.long)
    parts = [Part(first, end, block) for end in ends[ends < context].tolist()]
    starts = ends[ends >= context] - context
    parts += [Part(batch, context, block) for batch in starts.split(batch_size) if len(batch)]
    if rest and (limit is None or full < limit):
        begin = max(full * block - (context - block), 0)
        parts.append(Part(torch.tensor([begin]), targets - begin, rest))
    return parts


def evenly_spaced(count: int, limit: int | None) -> Tensor:
    """int64 indices of at most ``limit`` of ``count`` items, ascending."""
    if limit is None or limit >= count:
        return torch.arange(count)
    return torch.arange(limit) * count // limit


class _Normaliser:
    """uint8 [B, C, *grid] to float32 with mean 0 and standard deviation 1 of each channel."""

    def __init__(
        self, examples: Examples, mean: Sequence[float], std: Sequence[float], device: torch.device
    ) -> None:
        shape = (1, -1, *[1] * (len(examples.inputs.shape) - 2))
        self.scale = (1 / (255 * torch.tensor(std, dtype=torch.float32))).view(shape).to(device)
        self.offset = (255 * torch.tensor(mean, dtype=torch.float32)).view(shape).to(device)

    def __call__(self, inputs: Tensor) -> Tensor:
        return inputs.float().sub_(self.offset).mul_(self.scale)


def _context_of(examples: ByteStream | Examples, context: int | None) -> int:
    if isinstance(examples, Examples):
        return 1
    if context is None or context < 1:
        raise UsageError(f"the context is {context}, but text needs a window of at least 1 byte")
    return context


def _windows(data: Tensor, starts: Tensor, length: int, device: torch.device) -> Tensor:
    """int64 [B, length + 1], the bytes from each start on."""
    # whole rows are copied, which is several times faster than indexing each byte
    rows = data.unfold(0, length + 1, 1).index_select(0, send(starts, data.device))
    return numbers(send(rows, device))


def _gather(examples: Examples, chosen: Tensor, device: torch.device) -> Batch:
    """Stored items, gathered where they are."""
    inputs = examples.inputs
    if isinstance(inputs, Encoded):
        raise TypeError("encoded items are gathered into buffers")
    items = torch.index_select(inputs, 0, send(chosen, inputs.device))
    return send(items, device), send(_labels(examples, chosen), device)


def _labels(examples: Examples, chosen: Tensor) -> Tensor:
    return examples.labels[send(chosen, examples.labels.device)]


def _translate(inputs: Tensor, shifts: Tensor, mirrored: Tensor) -> Batch:
    """Items [B, C, *grid] translated by ``shifts`` pixels, int64 [B, 2], along their last two axes
    and flipped where ``mirrored``, bool [B]; and float32 [B, 1, ..., H, W], 1 inside the original.
    """
    batch, height, width = len(inputs), inputs.shape[-2], inputs.shape[-1]
    rows = torch.arange(height, device=inputs.device) + shifts[:, :1]
    columns = torch.arange(width, device=inputs.device) + shifts[:, 1:]
    columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    row_inside, column_inside = (rows >= 0) & (rows < height), (columns >= 0) & (columns < width)
    inside = row_inside[:, :, None] & column_inside[:, None, :]
    planes = inputs.reshape(batch, -1, height, width)
    index = rows.clamp(0, height - 1)[:, :, None] * width + columns.clamp(0, width - 1)[:, None, :]
    moved = planes.flatten(2).gather(2, index.view(batch, 1, -1).expand(-1, planes.shape[1], -1))
    middle = [1] * (inputs.dim() - 3)
    return moved.view(inputs.shape), inside.view(batch, *middle, height, width).float()
