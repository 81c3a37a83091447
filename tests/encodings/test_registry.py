"""The registry, and encodings as another transformer calls them."""

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from liere_cli.encodings import (
    Grid,
    PositionEncoding,
    Shape,
    available,
    bias,
    build_encoding,
    registry,
)
from liere_cli.errors import LiereError, UsageError

SHAPE = {"axes": 1, "heads": 2, "head_dim": 8}


class Bias(PositionEncoding):
    name = "slopes"

    def bias(self, state_q: Any, state_k: Any, layer: int) -> Tensor:
        return torch.zeros(1, 4, 4)


def inputs(heads: int = 2, head_dim: int = 8) -> tuple[Tensor, Tensor]:
    return torch.randn(1, heads, 4, head_dim), Grid((4,)).positions("index")


@pytest.mark.parametrize("name", ["absolute", "sinusoidal"])
def test_additive_encodings_refuse_queries_and_keys(name: str) -> None:
    encoding = build_encoding(name, grid=(4,), **SHAPE)
    q, positions = inputs()
    with pytest.raises(UsageError, match=rf"'{name}' adds to the token embeddings: call embed\("):
        encoding(q, q, positions)
    assert not torch.equal(encoding.embed(torch.zeros(1, 4, 16), positions), torch.zeros(1, 4, 16))


def test_biases_refuse_queries_and_keys() -> None:
    q, positions = inputs()
    with pytest.raises(UsageError, match=r"'slopes' adds to the attention logits: call bias\("):
        Bias(Shape(**SHAPE))(q, q, positions)


def test_none_changes_nothing() -> None:
    q, positions = inputs()
    assert build_encoding("none", **SHAPE)(q, q, positions)[0] is q


@pytest.mark.parametrize("name", ["rope", "liere:block=8", "none"])
def test_queries_of_another_shape_are_refused(name: str) -> None:
    encoding = build_encoding(name, depth=2, **SHAPE)
    q, positions = inputs()
    for wrong, part in [(inputs(heads=3)[0], "heads=2"), (inputs(head_dim=4)[0], "head_dim=8")]:
        with pytest.raises(UsageError, match=f"q must be .*{part}"):
            encoding(wrong, q, positions)
        with pytest.raises(UsageError, match=f"k must be .*{part}"):
            encoding(q, wrong, positions)
    with pytest.raises(UsageError, match="q must be"):
        encoding(q[0], q[0], positions)
    for layer in (-1, 2):
        with pytest.raises(UsageError, match="layer must be from 0 to 1"):
            encoding(q, q, positions, layer)
    encoding(q, q, positions, 1)


@pytest.mark.parametrize("name", ["axes", "heads", "head_dim", "depth", "dim"])
@pytest.mark.parametrize("value", [2.0, "3", True, -1])
def test_sizes_are_whole_numbers(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"{name} must be a whole number from"):
        build_encoding("rope", **{**SHAPE, name: value})


def test_the_training_grid_is_a_tuple() -> None:
    for grid in (4, [4], (4.0,)):
        with pytest.raises(UsageError, match="grid must be a tuple of whole numbers"):
            build_encoding("absolute", grid=grid, **SHAPE)  # type: ignore[arg-type]


def test_built_in_encodings_are_found_and_keep_their_order() -> None:
    names = list(available())
    assert names[:5] == ["none", "absolute", "sinusoidal", "fourier", "rope"]
    assert names[-5:] == ["alibi", "t5", "kerple", "fire", "lookhere"]
    assert set(registry._ORDER) == set(names) - {"none"}


@pytest.mark.parametrize("name", ["rope", "liere", "pope", "spherical", "comrope-ld", "harope"])
def test_tokens_are_prefix_and_positions(name: str) -> None:
    axes = 1 if name == "rope" else 2
    encoding = build_encoding(name, axes=axes, heads=2, head_dim=16)
    shape = (14, 13)[:axes]
    positions = encoding.positions(shape)
    tokens = len(positions) + 3
    q = torch.randn(1, 2, tokens, 16)
    state = encoding.prepare(positions)
    x, weight = torch.randn(1, tokens, 32), torch.randn(96, 32)
    words = f"{tokens} tokens, but {len(positions)} positions and prefix_tokens=0 make"
    for call in (
        lambda **count: encoding(q, q, positions, **count),
        lambda **count: encoding.encode_qk(q, q, state, 0, **count),
        lambda **count: encoding.encode_q(q, state, 0, **count),
        lambda **count: encoding.encode_k(q, state, 0, **count),
        lambda **count: encoding.project(x, weight, state, 0, **count),
    ):
        with pytest.raises(UsageError, match=f"{words} .* pass prefix_tokens=3"):
            call()
        with pytest.raises(UsageError, match="and prefix_tokens=4 make"):
            call(prefix_tokens=4)
        call(prefix_tokens=3)


def test_prefix_tokens_of_queries_and_keys_are_counted_apart() -> None:
    encoding = build_encoding("rope", **SHAPE)
    q, k = torch.randn(1, 2, 2, 8), torch.randn(1, 2, 5, 8)
    positions = encoding.positions((4,))
    new = {"key_positions": positions, "key_prefix_tokens": 1}
    late, keys = encoding(q, k, positions[2:], **new)
    assert torch.equal(keys[:, :, 0], k[:, :, 0])
    assert torch.equal(late, encoding(q, q, positions[2:])[0])
    with pytest.raises(UsageError, match="5 tokens, but 4 positions and prefix_tokens=0"):
        encoding(q, k, positions[2:], key_positions=positions)
    with pytest.raises(UsageError, match="key_prefix_tokens goes with key_positions"):
        encoding(q, q, positions[2:], key_prefix_tokens=1)


@pytest.mark.parametrize("name", ["absolute", "sinusoidal", "fourier"])
def test_embeddings_of_prefix_tokens_are_unchanged(name: str) -> None:
    encoding = build_encoding(name, grid=(4,), seed=0, **SHAPE)
    x, positions = torch.randn(1, 5, 16), encoding.positions((4,))
    embedded = encoding.embed(x, positions, prefix_tokens=1)
    assert torch.equal(embedded[:, 0], x[:, 0])
    assert torch.equal(embedded[:, 1:], encoding.embed(x[:, 1:], positions))
    with pytest.raises(UsageError, match="5 tokens, but 4 positions"):
        encoding.embed(x, positions)


def test_positions_are_in_the_units_of_the_encoding() -> None:
    liere = build_encoding("liere", axes=2, heads=2, head_dim=8, grid=(3, 5))
    assert torch.equal(liere.positions((3, 5)), Grid((3, 5)).positions("unit"))
    assert torch.equal(liere.positions((6, 5)), Grid((6, 5), (3, 5)).positions("unit"))
    assert torch.equal(liere.positions((6, 5), (6, 5)), Grid((6, 5)).positions("unit"))
    with pytest.raises(UsageError, match="has 1 axes, the encoding 2"):
        build_encoding("liere", axes=2, heads=2, head_dim=8).positions((3,))


def test_an_encoding_shows_its_options_and_shape() -> None:
    encoding = build_encoding("fire:width=8", axes=1, heads=6, head_dim=64, depth=12)
    assert repr(encoding) == (
        "FIRE(scaling=index, width=8, threshold=512.0, curvature=0.1, share=none; axes=1, heads=6, "
        "head_dim=64, depth=12)"
    )
    assert "block=8, share=none" in repr(build_encoding("liere", axes=2, heads=6, head_dim=64))


def test_overrides_without_the_parameter_infer_the_prefix() -> None:
    class Doubled(PositionEncoding):
        name = "doubled"

        def encode_q(self, q: Tensor, state: Any, layer: int) -> Tensor:  # type: ignore[override]
            return 2 * q

    encoding = Doubled(Shape(**SHAPE))
    q, positions = inputs()
    assert encoding.places == ("encode_qk",)
    doubled, k = encoding(q, q, positions[1:], prefix_tokens=1)
    assert torch.equal(doubled, 2 * q)
    assert torch.equal(k, q)


def test_documented_import_paths() -> None:
    from liere_cli.encodings.bias import LogitBias
    from liere_cli.encodings.rotary import Rotary

    assert issubclass(available()["alibi"], LogitBias)
    assert issubclass(available()["rope"], Rotary)
    copied = pickle.loads(pickle.dumps(build_encoding("liere", axes=2, heads=2, head_dim=8)))
    assert type(copied) is available()["liere"]


@pytest.fixture
def family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder whose modules count as the family ``bias``."""
    monkeypatch.setattr(bias, "__path__", [*bias.__path__, str(tmp_path)])
    registry._built_in.cache_clear()
    registry.available.cache_clear()
    yield tmp_path
    monkeypatch.undo()
    registry._built_in.cache_clear()
    registry.available.cache_clear()


def test_two_built_in_encodings_of_one_name_are_refused(family: Path) -> None:
    (family / "second.py").write_text(
        "from liere_cli.encodings.bias.alibi import ALiBi\n"
        "class Second(ALiBi):\n    name = 'alibi'\n"
    )
    with pytest.raises(LiereError, match=r"two encodings are named 'alibi': .*alibi and .*second"):
        available()


def test_a_module_that_cannot_be_imported_is_named(family: Path) -> None:
    (family / "broken.py").write_text("import nowhere_to_be_found\n")
    with pytest.raises(LiereError, match=r"bias\.broken can't be imported: ModuleNotFoundError"):
        available()


def test_runs_before_an_option_are_described_by_its_earlier_behaviour() -> None:
    """A new default gives new runs another identity; those before keep theirs."""
    before = {"name": "kerple", "scaling": "index"}
    recorded = registry.recorded_spec(before)
    assert recorded == {**before, "floor": "values"}
    assert registry.identifying_spec(recorded) == before
    assert registry.identifying_spec(before) == {**before, "floor": "parameters"}
    assert registry.label("kerple") == "kerple"
    assert registry.label(recorded) == "kerple:floor=values"
    for spec in ({"name": "liere", "block": 8}, {"name": "x.py:Y"}, {"name": "gone"}):
        assert registry.recorded_spec(spec) == spec
