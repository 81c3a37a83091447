"""Presets: published settings by name, and the LieRE repository's own baselines."""

import json
import math

import pytest
import torch
from typer.testing import CliRunner

from liere_cli.cli.app import app
from liere_cli.encodings import available, build_encoding
from liere_cli.encodings.registry import identifying_spec, label, resolve_spec
from liere_cli.errors import UsageError
from support.slow_rotary import SHAPES, built, positions_of, random_qk, turned

PRESETS = [
    (name, preset) for name, encoding in available().items() for preset in encoding.Options.presets
]


@pytest.mark.parametrize(("name", "preset"), PRESETS)
def test_a_preset_is_the_options_that_it_sets(name: str, preset: str) -> None:
    short = f"{name}:preset={preset}"
    stands_for = available()[name].Options.presets[preset].options
    spelled = {"name": name, **stands_for}
    assert resolve_spec(short) == resolve_spec(spelled)
    assert identifying_spec(short) == identifying_spec(spelled)
    assert "preset" not in identifying_spec(short)
    assert resolve_spec(label(short)) == resolve_spec(short)
    assert len(label(short)) <= len(short)
    # the same value once more is no contradiction
    assert resolve_spec({**spelled, "preset": preset}) == resolve_spec(spelled)


def test_labels_are_the_shorter_spelling() -> None:
    assert label("rope-mixed:start=uniform,share=layers,scaling=unit,theta=5") == (
        "rope-mixed:preset=liere-repository,theta=5.0"
    )
    assert label("liere:preset=paper-code,block=4") == "liere:block=4,share=layers"
    assert label("axial:spectrum=liere-repository") == "axial:spectrum=liere-repository"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("liere:preset=paper-code,share=none", "sets share=layers, but share=none is given"),
        ("liere:preset=paper-code,top=3", "sets top=null, but top=3 is given too: leave one"),
        ("liere:preset=papercode", "unknown preset 'papercode'; did you mean 'paper-code'"),
        ("rope:preset=paper-code", "unknown key 'preset'"),
    ],
)
def test_contradictions_and_unknown_presets_are_refused(spec: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve_spec(spec)
    result = CliRunner().invoke(app, ["encodings", spec])
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.replace("\n", " ").split())


def test_an_encoding_is_shown_with_the_options_of_its_preset() -> None:
    shown = CliRunner().invoke(app, ["encodings", "liere:preset=paper-code", "--json"]).stdout
    (row,) = json.loads(shown)
    options = {option["name"]: option for option in row["options"]}
    assert options["share"]["value"] == "layers"
    meaning = options["preset"]["meaning"]
    assert "paper-code is share=layers, scale=6.283185307179586, scaling=unit" in meaning


def test_the_papers_code_uses_one_set_of_generators_in_all_layers() -> None:
    shape = {"axes": 2, "heads": 2, "head_dim": 16, "depth": 3, "seed": 0}
    encoding = build_encoding("liere:preset=paper-code,block=8", **shape)
    assert encoding.scaling == "unit"
    upper = encoding.upper.detach()  # type: ignore[union-attr]
    assert upper.shape == (1, 2, 2, 2, 28)
    assert 0 <= float(upper.min()) < float(upper.max()) < 2 * math.pi


@pytest.mark.parametrize("axes", list(SHAPES))
def test_rope_mixed_of_the_liere_repository(axes: int) -> None:
    spec = "rope-mixed:preset=liere-repository"
    encoding = built(spec, axes)
    frequencies = encoding.frequencies.detach()  # type: ignore[union-attr]
    assert frequencies.shape == (1, 2, axes, 8)
    positions = positions_of(encoding)
    assert float(positions.max()) == 1
    q, k = random_qk(encoding)

    def angle(n: int, i: int, p: list[float]) -> float:
        return sum(x * float(f) for x, f in zip(p, frequencies[0, n, :, i], strict=True))

    for layer in (0, 1):
        for ours, x in zip(encoding(q, k, positions, layer), (q, k), strict=True):
            expected = turned(x, positions, "interleaved", angle)
            torch.testing.assert_close(ours, expected, rtol=0, atol=5e-6)
    many = build_encoding(spec, axes=axes, heads=64, head_dim=64, depth=2, seed=0)
    draw = many.frequencies.detach()  # type: ignore[union-attr]
    assert 0 <= float(draw.min()) < 0.05
    assert 2 * math.pi - 0.05 < float(draw.max()) < 2 * math.pi
    assert float(draw.mean()) == pytest.approx(math.pi, rel=0.05)


@pytest.mark.parametrize(("axes", "head_dim"), [(1, 16), (2, 16), (3, 16), (3, 12)])
def test_visionllama_of_the_liere_repository(axes: int, head_dim: int) -> None:
    encoding = built("axial:preset=liere-repository", axes, head_dim)
    positions = positions_of(encoding)
    q, _ = random_qk(encoding)
    share = head_dim // axes // 2
    # planes that do not divide evenly do not rotate; here they follow those of their axis
    own: list[tuple[int, int]] = []
    for axis in range(axes):
        extra = axis < head_dim // 2 % axes
        own += [(axis, u) for u in range(share)] + [(axis, -1)] * extra

    def angle(n: int, i: int, p: list[float]) -> float:
        axis, u = own[i]
        return p[axis] * math.exp(-4 * u / max(share - 1, 1)) if u >= 0 else 0.0

    expected = turned(q, positions, "interleaved", angle)
    torch.testing.assert_close(encoding(q, q, positions)[0], expected, rtol=0, atol=5e-6)
