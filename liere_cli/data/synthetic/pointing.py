"""The spatial-reasoning probe of the LieRE paper (arXiv 2406.10322): follow the Y to its arrow."""

from functools import cache, cached_property
from pathlib import Path
from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from liere_cli.config.section import Section
from liere_cli.data.base import Dataset, Examples, Split
from liere_cli.data.options import ImageGrid
from liere_cli.data.synthetic.glyphs import cell_pixels, default_patch, parse_glyphs, render
from liere_cli.utils.files import digest_of
from liere_cli.utils.seeding import stream

_DIRECTIONS = 4
_UP = "........ ...##... ..####.. .######. ...##... ...##... ...##... ........"
_LETTERS = {
    "Y": "........ .##..##. .##..##. ..####.. ...##... ...##... ...##... ........",
    "A": "........ ..####.. .##..##. .##..##. .######. .##..##. .##..##. ........",
    "C": "........ ..#####. .##..... .##..... .##..... .##..... ..#####. ........",
    "E": "........ .######. .##..... .#####.. .##..... .##..... .######. ........",
    "H": "........ .##..##. .##..##. .######. .##..##. .##..##. .##..##. ........",
    "L": "........ .##..... .##..... .##..... .##..... .##..... .######. ........",
    "O": "........ ..####.. .##..##. .##..##. .##..##. .##..##. ..####.. ........",
    "X": "........ .##..##. ..####.. ...##... ...##... ..####.. .##..##. ........",
    "Z": "........ .######. .....##. ....##.. ...##... ..##.... .######. ........",
}
_ARROW = 1
_LETTER_Y = _ARROW + _DIRECTIONS
_OTHERS = len(_LETTERS) - 1


class PointingOptions(Section):
    grid: ImageGrid | None = Field(
        None, description="ROWSxCOLUMNS of pixels, or one number; null: 8 pixels a cell"
    )
    cells: int = Field(9, ge=3, le=64, description="cells along each side of the image")
    arrows: int = Field(8, ge=_DIRECTIONS, description="arrows in an image, a multiple of 4")
    letters: int = Field(6, ge=1, le=1 + _OTHERS, description="letters in an image, the Y included")
    train: int = Field(20_000, ge=1, description="images to train on")
    val: int = Field(2_000, ge=1, description="images to validate on")
    test: int = Field(2_000, ge=1, description="images to test on")
    seed: int = Field(0, ge=0, description="of all random numbers that generate the images")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.arrows % _DIRECTIONS:
            raise ValueError("arrows must be a multiple of 4: as many in each direction")
        if self.arrows + self.letters > self.cells**2:
            raise ValueError("arrows and letters must fit into cells x cells")
        return self


class Pointing(Dataset):
    """Arrows and letters in square cells; the label is the direction of the arrow below the Y.

    Labels: 0 up, 1 right, 2 down, 3 left. Every image has equally many arrows in each direction,
    one Y and other letters that don't depend on the label, each in its own cell. So when patches
    tile the cells, the bag of patches of an image has no information about its label: a model
    without positions is at chance, 25%. Patches that straddle cells would reveal the label.

    A larger grid shows the same scenes with larger cells.
    """

    name = "pointing"
    summary = "generated: the direction of the arrow below the letter Y (9x9 cells, 8 arrows)"
    source = "built in, after arXiv 2406.10322"
    licence = "free"
    task = "classification"
    metric = "top1"
    axes = 2
    Options = PointingOptions
    options: PointingOptions

    channels = 1
    classes = _DIRECTIONS
    mean = (0.1,)
    std = (0.3,)

    def __init__(self, options: PointingOptions, root: Path | None = None) -> None:
        super().__init__(options, root)
        self.grid = options.grid or (8 * options.cells, 8 * options.cells)
        cell_pixels(self.name, self.grid, options.cells)
        self.patch = (default_patch(options.cells, self.grid[0]),) * 2

    def check_grid(self, grid: tuple[int, ...], patch: tuple[int, ...]) -> None:
        cell_pixels(self.name, grid, self.options.cells, max(patch))

    @cached_property
    def fingerprint(self) -> str:
        # the scenes of one split cover the random numbers, the glyphs how scenes are drawn
        rule = repr(("below the Y", self.options.model_dump(exclude={"grid"}))).encode()
        codes, glyphs = self.scenes("val")[0], _glyphs()
        return digest_of(rule + codes.numpy().tobytes() + glyphs.numpy().tobytes(), 16)

    def load(self, split: Split, grid: tuple[int, ...] | None = None) -> Examples:
        grid = grid or self.grid
        pixels = cell_pixels(self.name, grid, self.options.cells)
        codes, labels = self.scenes(split)
        images = render(codes.long(), _glyphs(), pixels)
        return Examples(images[:, None], labels, torch.arange(len(labels)))

    def scenes(self, split: Split) -> tuple[Tensor, Tensor]:
        """The glyph in each cell, uint8 [N, cells, cells], and the labels, int64 [N].

        0 is empty, 1 to 4 an arrow up, right, down, left, 5 the Y, 6 and more another letter.
        """
        options = self.options
        count: int = getattr(options, split)
        random = stream(options.seed, "pointing", split)
        labels = torch.randperm(count, generator=random) % _DIRECTIONS

        # the cells of the Y and of the arrow below it come first, all others in random order
        keys = torch.rand(count, options.cells**2, generator=random)
        marked = torch.randint(options.cells * (options.cells - 1), (count, 1), generator=random)
        keys.scatter_(1, marked, -2.0)
        keys.scatter_(1, marked + options.cells, -1.0)
        order = keys.argsort(1)[:, : options.arrows + options.letters]

        arrows = torch.arange(options.arrows) % _DIRECTIONS
        other_arrows = (labels[:, None] + 1 + arrows[: options.arrows - 1]) % _DIRECTIONS
        other_letters = torch.rand(count, _OTHERS, generator=random).argsort(1)
        contents = [
            torch.full((count, 1), _LETTER_Y),
            _ARROW + labels[:, None],
            _ARROW + other_arrows,
            _LETTER_Y + 1 + other_letters[:, : options.letters - 1],
        ]
        codes = torch.zeros(count, options.cells**2, dtype=torch.uint8)
        codes.scatter_(1, order, torch.cat(contents, 1).to(torch.uint8))
        return codes.view(count, options.cells, options.cells), labels


@cache
def _glyphs() -> Tensor:
    drawn = parse_glyphs(_UP, *_LETTERS.values())
    arrows = [drawn[1].rot90(-quarter) for quarter in range(_DIRECTIONS)]
    return torch.stack([drawn[0], *arrows, *drawn[2:]])
