"""Small images for square cells, of which the generated probes are composed."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from liere_cli.errors import UsageError

_MASTER_PIXELS = 8


def parse_glyphs(*drawings: str) -> Tensor:
    """uint8 [K + 1, 8, 8]: an empty glyph, then each drawing ('#' is 255, '.' is 0)."""
    glyphs = [torch.zeros(_MASTER_PIXELS, _MASTER_PIXELS, dtype=torch.uint8)]
    for drawing in drawings:
        rows = [[255 * (mark == "#") for mark in line] for line in drawing.split()]
        glyphs.append(torch.tensor(rows, dtype=torch.uint8))
    return torch.stack(glyphs)


def render(codes: Tensor, glyphs: Tensor, pixels: int) -> Tensor:
    """Draws the glyph of uint8 [K, 8, 8] with the index in each cell of int64 [..., rows, columns]:
    uint8 [..., rows * pixels, columns * pixels].
    """
    if pixels != _MASTER_PIXELS:
        size = (pixels, pixels)
        scaled = F.interpolate(
            glyphs[None].float(), size=size, mode="bilinear", antialias=True, align_corners=False
        )
        glyphs = scaled[0].round().clamp(0, 255).to(torch.uint8)
    rows, columns = codes.shape[-2:]
    image = glyphs[codes].transpose(-3, -2)
    return image.reshape(*codes.shape[:-2], rows * pixels, columns * pixels)


def cell_pixels(name: str, grid: tuple[int, ...], cells: int, patch: int = 1) -> int:
    """Edge in pixels of a cell when ``cells`` x ``cells`` of them fill the last axes of ``grid``;
    UsageError if they, or patches of that edge, don't fill it exactly.
    """
    height, width = grid[-2:]
    step = math.lcm(cells, patch)
    if height != width or height % step:
        shape = "x".join(map(str, grid))
        patches = f" ({cells} cells, patches of {patch})" if patch > 1 else ""
        fitting = max(round(height / step), 1) * step if patch > 1 else 8 * cells
        raise UsageError(
            f"data.{name}: the grid {shape} is not {cells}x{cells} square cells"
            f"{' of whole patches' if patch > 1 else ''}: rows and columns must be the same "
            f"multiple of {step}{patches}, such as {fitting}"
        )
    return height // cells


def default_patch(cells: int, height: int) -> int:
    """The largest patch of at most 8 pixels that tiles a cell, so that none straddles two."""
    return math.gcd(height // cells, 8)
