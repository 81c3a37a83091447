"""A generated video probe: the direction in which shapes move."""

from functools import cache, cached_property
from pathlib import Path
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from liere_cli.config.section import Section, added
from liere_cli.data.base import Dataset, Examples, Split
from liere_cli.data.options import VideoGrid
from liere_cli.data.synthetic.glyphs import cell_pixels, default_patch, parse_glyphs, render
from liere_cli.errors import UsageError
from liere_cli.utils.files import digest_of
from liere_cli.utils.seeding import stream

_SHAPES = (
    # a disc, a plus, a ring, a triangle
    "........ ..####.. .######. .######. .######. .######. ..####.. ........",
    "........ ...##... ...##... .######. .######. ...##... ...##... ........",
    "........ .######. .##..##. .#....#. .#....#. .##..##. .######. ........",
    "........ ...##... ...##... ..####.. ..####.. .######. .######. ........",
)
#: rows, columns: up, right, down, left, then the diagonals clockwise from up-right
_STEPS = ((-1, 0), (0, 1), (1, 0), (0, -1), (-1, 1), (1, 1), (1, -1), (-1, -1))


class MotionOptions(Section):
    grid: VideoGrid | None = Field(
        None, description="FRAMESxROWSxCOLUMNS; null: 4 frames, 4 pixels a cell"
    )
    cells: int = Field(3, ge=3, le=64, description="cells along each side of a frame")
    shapes: int = Field(1, ge=1, le=len(_SHAPES), description="shapes that move together")
    classes: Literal[4, 8] = Field(4, description="directions: 4, or 8 with the diagonals")
    speed: int = Field(1, ge=1, description="cells that a shape moves from frame to frame")
    speeds: int = added(
        1, ge=1, le=32, description="speeds, from 'speed' on, of which each has one"
    )
    distractors: int = added(
        0, ge=0, le=64, description="other shapes that move on their own; the label is the disc's"
    )
    noise: int = Field(0, ge=0, le=127, description="largest change of a pixel (0 to 255) by noise")
    train: int = Field(8_000, ge=1, description="clips to train on")
    val: int = Field(1_000, ge=1, description="clips to validate on")
    test: int = Field(1_000, ge=1, description="clips to test on")
    seed: int = Field(0, ge=0, description="of all random numbers that generate the clips")

    @model_validator(mode="after")
    def _distinguishable(self) -> Self:
        fastest = self.speed + self.speeds - 1
        if any(both % self.cells == 0 for both in range(2 * self.speed, 2 * fastest + 1)):
            subject = "twice the speed" if self.speeds == 1 else "the sum of two speeds"
            raise ValueError(
                f"{subject} must not be a multiple of cells: both ways would look the same"
            )
        if self.distractors and (self.shapes > 1 or self.classes > 4):
            raise ValueError("distractors need shapes=1 and classes=4: the disc has the label")
        if self.distractors >= self.cells**2:
            raise ValueError("distractors and the disc must fit into cells x cells")
        return self


class Motion(Dataset):
    """Shapes that move together by whole cells on a torus; the label is the direction.

    With ``distractors``, a disc moves among other shapes, each in a direction of its own, and the
    label is the disc's direction. With ``speeds``, each clip has one of several speeds, and each
    distractor its own.

    Labels: 0 up, 1 right, 2 down, 3 left; with 8 classes also 4 up-right, 5 down-right,
    6 down-left, 7 up-left. Starting cells are uniform and shapes that leave on one side return on
    the other, so no single frame has information about the label. Shapes never overlap or leave
    their cells, and along every direction they visit equally many cells of the square torus in
    turn, so the bag of patches has none either, also for patches of several frames (with one shape
    it is the same for every label, with several it is in distribution), as long as patches tile
    the cells: a model without positions is at chance. Distractors may pass behind the disc and
    each other; turning the torus by a quarter exchanges the four directions and leaves everything
    else as likely as before, so bags tell nothing then either.

    A larger grid shows the same scenes with larger cells, or for more frames.
    """

    name = "motion"
    summary = "generated: the direction in which shapes move on a torus"
    source = "built in"
    licence = "free"
    task = "classification"
    metric = "top1"
    axes = 3
    Options = MotionOptions
    options: MotionOptions

    channels = 1
    mean = (0.1,)
    std = (0.3,)

    def __init__(self, options: MotionOptions, root: Path | None = None) -> None:
        super().__init__(options, root)
        self.classes = options.classes
        self.grid = options.grid or (4, 4 * options.cells, 4 * options.cells)
        self._pixels(self.grid)
        self.patch = (2 - self.grid[0] % 2, *(default_patch(options.cells, self.grid[1]),) * 2)

    def check_grid(self, grid: tuple[int, ...], patch: tuple[int, ...]) -> None:
        cell_pixels(self.name, grid, self.options.cells, max(patch[1:]))

    @cached_property
    def fingerprint(self) -> str:
        options = {k: v for k, v in self.options.identifying().items() if k != "grid"}
        rule = repr(("torus", options)).encode()
        codes, glyphs = self.scenes("val", 2)[0], _glyphs()
        return digest_of(rule + codes.numpy().tobytes() + glyphs.numpy().tobytes(), 16)

    def load(self, split: Split, grid: tuple[int, ...] | None = None) -> Examples:
        grid = grid or self.grid
        pixels = self._pixels(grid)
        codes, labels = self.scenes(split, grid[0])
        frames = render(codes.long(), _glyphs(), pixels)
        if self.options.noise:
            random = stream(self.options.seed, "motion", split, "noise")
            noise = torch.randint(
                self.options.noise + 1, frames.shape, generator=random, dtype=torch.uint8
            )
            # added to dark and subtracted from bright pixels, so that nothing overflows
            frames = torch.where(frames > 127, frames - noise, frames + noise)
        return Examples(frames[:, None], labels, torch.arange(len(labels)))

    def scenes(self, split: Split, frames: int) -> tuple[Tensor, Tensor]:
        """Shapes of cells, uint8 [N, frames, cells, cells], 0 for none, and labels, int64 [N]."""
        options = self.options
        count: int = getattr(options, split)
        random = stream(options.seed, "motion", split)
        labels = torch.randperm(count, generator=random) % options.classes
        order = torch.rand(count, options.cells**2, generator=random).argsort(1)
        starts = order[:, : options.shapes]
        kinds = torch.rand(count, len(_SHAPES), generator=random).argsort(1)
        kinds = 1 + kinds[:, : options.shapes].to(torch.uint8)

        count_of_speeds, others = options.speeds, options.distractors
        speeds = options.speed + _drawn(random, count, 1, count_of_speeds)
        directions = labels[:, None]
        if others:
            # drawn first, so that the disc, which comes last, is always visible
            other_kinds = 2 + _drawn(random, count, others, len(_SHAPES) - 1)
            kinds = torch.cat([other_kinds, torch.ones(count, 1)], 1).to(torch.uint8)
            other_speeds = options.speed + _drawn(random, count, others, count_of_speeds)
            speeds = torch.cat([other_speeds, speeds], 1)
            other_directions = _drawn(random, count, others, options.classes)
            directions = torch.cat([other_directions, directions], 1)
            starts = order[:, : others + 1]

        # [N, frames, shapes] cells
        offsets = torch.arange(frames)[:, None, None] * (
            speeds[..., None] * torch.tensor(_STEPS)[directions]
        ).unsqueeze(1)
        rows = (starts[:, None] // options.cells + offsets[..., 0]) % options.cells
        columns = (starts[:, None] % options.cells + offsets[..., 1]) % options.cells
        where = rows * options.cells + columns
        codes = torch.zeros(count, frames, options.cells**2, dtype=torch.uint8)
        for shape in range(where.shape[-1]):
            kind = kinds[:, None, shape : shape + 1].expand(-1, frames, -1)
            codes.scatter_(2, where[..., shape : shape + 1], kind)
        return codes.view(count, frames, options.cells, options.cells), labels

    def _pixels(self, grid: tuple[int, ...]) -> int:
        if grid[0] < 2:
            raise UsageError(f"data.motion: {grid[0]} frame shows no motion: at least 2 are needed")
        return cell_pixels(self.name, grid, self.options.cells)


def _drawn(random: torch.Generator, rows: int, columns: int, below: int) -> Tensor:
    """int64 [rows, columns], uniform from 0 to ``below`` - 1."""
    return torch.randint(below, (rows, columns), generator=random)


@cache
def _glyphs() -> Tensor:
    return parse_glyphs(*_SHAPES)
