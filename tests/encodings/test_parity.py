"""Encodings against widely used packages: the same values, in the same layout.

timm and vit-pytorch depend on torchvision, which would install another torch. Their position
encodings do not need it: they are tested if both are installed with ``pip install --no-deps``.
"""

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from liere_cli.encodings import Grid, build_encoding

HEADS, HEAD_DIM = 2, 24
GRID = (3, 5)


@pytest.fixture
def module_of(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a module of a package, and only those modules of the package that it needs."""

    def load(name: str) -> Any:
        package = name.partition(".")[0]
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            pytest.skip(f"{package} is not installed: pip install --no-deps timm vit-pytorch")
        path, parent = spec.submodule_search_locations[0], package
        for part in name.split(".")[1:]:
            hollow = ModuleType(parent)
            hollow.__path__ = [path]
            monkeypatch.setitem(sys.modules, parent, hollow)
            path, parent = f"{path}/{part}", f"{parent}.{part}"
        return importlib.import_module(name)

    return load


def queries() -> Tensor:
    return torch.randn(2, HEADS, 15, HEAD_DIM)


def turned(encoding: Any, q: Tensor, grid: tuple[int, ...], layer: int = 0) -> Tensor:
    actual: Tensor = encoding(q, q, Grid(grid).positions(encoding.scaling), layer)[0]
    return actual


def built(spec: str, grid: tuple[int, ...], **shape: Any) -> Any:
    return build_encoding(spec, axes=len(grid), heads=HEADS, head_dim=HEAD_DIM, grid=grid, **shape)


def close(actual: Tensor, expected: Tensor) -> None:
    # the angles, of up to 300 radians, are rounded differently in float32
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-4)


def test_rope_equals_that_of_x_transformers() -> None:
    theirs = pytest.importorskip("x_transformers.x_transformers")
    frequencies, _ = theirs.RotaryEmbedding(HEAD_DIM).forward_from_seq_len(15)
    q = queries()
    close(turned(built("rope", (15,)), q, (15,)), theirs.apply_rotary_pos_emb(q, frequencies))


def test_partial_rope_equals_that_of_x_transformers() -> None:
    theirs = pytest.importorskip("x_transformers.x_transformers")
    frequencies, _ = theirs.RotaryEmbedding(HEAD_DIM // 2).forward_from_seq_len(15)
    q = queries()
    expected = theirs.apply_rotary_pos_emb(q, frequencies)
    close(turned(built("rope:part=0.5", (15,)), q, (15,)), expected)


def test_absolute_equals_that_of_x_transformers() -> None:
    theirs = pytest.importorskip("x_transformers.x_transformers")
    table = theirs.AbsolutePositionalEmbedding(HEADS * HEAD_DIM, 15)
    ours = built("absolute", (15,))
    with torch.no_grad():
        ours.table.copy_(table.emb.weight * table.scale)
    x = torch.randn(1, 15, HEADS * HEAD_DIM)
    close(ours.embed(x, Grid((15,)).positions("resized")), x + table(x))


@pytest.mark.parametrize("grid", [(15,), (3, 5), (3, 1, 5)])
@pytest.mark.parametrize("zero", [0.0, 0.25])
def test_golden_gate_equals_that_of_vit_pytorch(
    module_of: Any, grid: tuple[int, ...], zero: float
) -> None:
    package = module_of("vit_pytorch.vit_nd_rotary")
    theirs = package.GoldenGateRoPENd(len(grid), HEADS, HEAD_DIM, 0.5, 20.0, zero)
    q = queries()
    expected = theirs(q, Grid(grid).positions("index").expand(2, -1, -1))
    spec = f"golden-gate:scaling=index,slowest=0.5,fastest=20,zero={zero}"
    close(turned(built(spec, grid), q, grid), expected)


@pytest.mark.parametrize("layout", ["interleaved", "half-split"])
def test_dinov3_equals_that_of_timm(module_of: Any, layout: str) -> None:
    package = module_of("timm.layers.pos_embed_sincos")
    half = layout == "half-split"
    theirs = package.RotaryEmbeddingDinoV3(HEAD_DIM, rotate_half=half)
    q = queries()
    expected = package.apply_rot_embed_cat(q, theirs.get_embed(list(GRID)), half=half)
    close(turned(built(f"dinov3:layout={layout}", GRID), q, GRID), expected)


def test_axial_equals_that_of_timm(module_of: Any) -> None:
    package = module_of("timm.layers.pos_embed_sincos")
    theirs = package.RotaryEmbeddingCat(
        HEAD_DIM, temperature=100.0, in_pixels=False, feat_shape=list(GRID)
    )
    q = queries()
    expected = package.apply_rot_embed_cat(q, theirs.get_embed())
    close(turned(built("axial", GRID), q, GRID), expected)


def test_rope_mixed_equals_that_of_timm(module_of: Any) -> None:
    package = module_of("timm.layers.pos_embed_sincos")
    theirs = package.RotaryEmbeddingMixed(HEADS * HEAD_DIM, 3, HEADS, feat_shape=list(GRID))
    ours = built("rope-mixed", GRID, depth=3)
    with torch.no_grad():
        # timm has columns before rows
        ours.frequencies.copy_(theirs.freqs.flip(0).permute(1, 2, 0, 3))
    q = queries()
    for layer, embed in enumerate(theirs.get_embed()):
        close(turned(ours, q, GRID, layer), package.apply_rot_embed_cat(q, embed))


def test_rope_mixed_starts_with_the_magnitudes_of_timm(module_of: Any) -> None:
    package = module_of("timm.layers.pos_embed_sincos")
    theirs = package.init_random_2d_freqs(HEAD_DIM, 3, HEADS, temperature=10.0)
    ours = built("rope-mixed", GRID, depth=3).frequencies
    close(ours.norm(dim=2), theirs.norm(dim=0))


def test_sinusoids_on_two_axes_equal_those_of_timm(module_of: Any) -> None:
    package = module_of("timm.layers.pos_embed_sincos")
    dim = HEADS * HEAD_DIM
    theirs = package.build_sincos2d_pos_embed(list(GRID), dim, interleave_sin_cos=False)
    ours = built("sinusoidal:scale=1", GRID).at(Grid(GRID).positions("index"))
    # timm has all sines, then all cosines; here each axis has its sines, then its cosines
    close(ours, theirs.unflatten(1, (2, 2, -1)).transpose(1, 2).flatten(1))
