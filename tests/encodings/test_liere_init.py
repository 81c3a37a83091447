"""Frequencies of LieRE's initial generators, and block sizes at matched frequencies."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from liere_cli.encodings import build_encoding
from liere_cli.encodings.matrix.liere import LieRE
from liere_cli.errors import UsageError

BLOCKS = st.sampled_from((2, 3, 4, 8, 12, 24))


def build(options: str, head_dim: int = 64, axes: int = 2, heads: int = 4, seed: int = 0) -> LieRE:
    encoding = build_encoding(
        f"liere:{options}", axes=axes, heads=heads, head_dim=head_dim, depth=2, seed=seed
    )
    assert isinstance(encoding, LieRE)
    return encoding


def frequencies(encoding: LieRE) -> Tensor:
    """Frequencies of every generator, ascending, [L, N, n, A, b // 2]: half of the eigenvalues."""
    values = torch.linalg.eigvalsh(1j * encoding.generators().detach().double()).abs().sort().values
    block = values.shape[-1]
    return values[..., block % 2 :: 2]


def distance(x: Tensor, y: Tensor) -> float:
    """Kolmogorov-Smirnov distance: the largest difference of two distribution functions."""
    x, y = x.flatten().sort().values, y.flatten().sort().values
    at = torch.cat((x, y))
    shares = [torch.searchsorted(z, at, right=True) / len(z) for z in (x, y)]
    return float((shares[0] - shares[1]).abs().max())


@pytest.mark.parametrize(("block", "top"), [(2, 3.14), (8, 17), (64, 130)])
def test_larger_blocks_have_higher_initial_frequencies_in_the_paper(block: int, top: float) -> None:
    actual = frequencies(build(f"block={block}"))
    assert float(actual[..., -1].mean()) == pytest.approx(top, rel=0.1)
    expected = (2 * math.pi) ** 2 * (block - 1) / 3
    assert float(actual.square().mean()) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize(("block", "other"), [(64, 8), (8, 64), (2, 8), (16, 2), (4, 3)])
def test_frequencies_are_distributed_as_in_the_other_block_size(block: int, other: int) -> None:
    wanted = frequencies(build(f"block={other}", head_dim=192, seed=1))
    matched = frequencies(build(f"block={block},spectrum={other}", head_dim=192))
    plain = frequencies(build(f"block={block}", head_dim=192))
    # 1.63 sqrt(1/m + 1/n) is the critical value at 1%
    limit = 1.63 * math.sqrt(1 / wanted.numel() + 1 / matched.numel())
    assert distance(matched, wanted) < limit < distance(plain, wanted)


@given(block=BLOCKS, other=BLOCKS, top=st.floats(0.1, 50), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_the_mean_highest_frequency_is_top(block: int, other: int, top: float, seed: int) -> None:
    for options in (f"block={block}", f"block={block},spectrum={other}"):
        actual = frequencies(build(f"{options},top={top!r}", head_dim=24, heads=1, seed=seed))
        assert float(actual[..., -1].mean()) == pytest.approx(top, rel=1e-4)


def test_planes_stay_those_of_the_draw() -> None:
    """A generator commutes with itself at other frequencies."""
    plain, matched = (build(o).generators().detach() for o in ("block=8", "block=8,spectrum=64"))
    mixed = plain @ matched - matched @ plain
    assert float(mixed.abs().max()) < 1e-3 * float((plain @ matched).abs().max())


def test_the_own_block_size_and_no_top_change_nothing() -> None:
    assert torch.equal(build("block=8").upper, build("block=8,spectrum=8").upper)
    assert build("block=8,spectrum=4,scale=0").upper.abs().max() == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("top=3,scale=1", "top=3 and scale=1 both set the size of the initial entries"),
        ("spectrum=1", "'spectrum' is 1, but must be at least 2"),
        ("top=0", "'top' is 0, but must be above 0"),
    ],
)
def test_refuses(options: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build(options)
