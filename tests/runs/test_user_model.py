"""A user's model in the place of liere's transformer."""

import json
from pathlib import Path

import pytest
import torch
from click.testing import Result
from typer.testing import CliRunner

import liere_cli
from liere_cli.cli.app import app
from liere_cli.encodings import build_encoding
from liere_cli.errors import LiereError, UsageError
from liere_cli.model import ModelShape
from liere_cli.runs.user_model import UserModel, model_class

#: one attention layer, for text and images
MINE = """
import math

import torch
from torch import nn
from torch.nn import functional as F


class Mine(nn.Module):
    def __init__(self, encoding, shape):
        super().__init__()
        self.encoding, self.shape = encoding, shape
        width = shape.channels * math.prod(shape.patch)
        self.embed = nn.Embedding(256, shape.dim) if shape.causal else nn.Linear(width, shape.dim)
        self.qkv = nn.Linear(shape.dim, 3 * shape.dim)
        self.head = nn.Linear(shape.dim, shape.classes)

    def forward(self, inputs, positions):
        x = self.embed(inputs if self.shape.causal else self.patches(inputs))
        q, k, v = self.qkv(x).unflatten(-1, (3, self.shape.heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = self.encoding(q, k, positions)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=self.shape.causal)
        x = x + y.transpose(1, 2).flatten(2)
        return self.head(x if self.shape.causal else x.mean(1))

    def patches(self, pixels):
        size = self.shape.patch[0]
        return F.unfold(pixels, size, stride=size).mT
"""
SMALL = [
    *("--set=model.layers=1", "--set=model.dim=16", "--set=model.heads=2", "--device=cpu"),
    *("--set=training.batch=4", "--set=training.validation_limit=2", "--set=training.test_limit=2"),
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    model_class.cache_clear()
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "verse.txt").write_text("The quick brown fox jumps over the lazy dog. " * 40)
    return tmp_path


def liere(*arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments])


def trained(*arguments: str, data: str = "text:verse.txt,grid=16") -> str:
    """The folder of a run of two steps."""
    flags = ("--budget=2steps", "--json", *SMALL)
    result = liere("train", f"--data={data}", "--encoding=rope-mixed", *arguments, *flags)
    assert result.exit_code == 0, result.output
    return str(json.loads(result.stdout)["folder"])


def shape(**changes: object) -> ModelShape:
    values: dict[str, object] = {
        "layers": 1, "dim": 16, "heads": 2, "mlp_ratio": 1.0, "dropout": 0.0, "pooling": "mean",
        "causal": True, "grid": (16,), "patch": (1,), "channels": 1, "classes": 256,
    }  # fmt: skip
    return ModelShape(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("data", ["text:verse.txt,grid=16", "pointing"])
def test_it_trains_resumes_and_is_measured(here: Path, data: str) -> None:
    folder = trained("--model=mine.py:Mine", data=data)
    assert trained("--model=mine.py:Mine", data=data) == folder
    assert trained(data=data) != folder
    (here / "elsewhere").mkdir()
    (here / "mine.py").rename(here / "elsewhere" / "same.py")
    assert trained("--model=elsewhere/same.py:Mine", data=data) == folder
    grid = "--grid=32" if "text" in data else "--grid=144x144"
    result = liere("eval", folder, "--encoding=elsewhere/same.py:Mine", grid, "--limit=2", "--json")
    assert result.exit_code == 0, result.output
    model_class.cache_clear()
    (here / "elsewhere" / "same.py").write_text(f"{MINE}# edited")
    assert trained("--model=elsewhere/same.py:Mine", data=data) != folder


def test_a_comparison_trains_it_with_each_encoding(here: Path) -> None:
    result = liere(
        "compare", "--encodings=none,rope", "--data=text:verse.txt,grid=16", "--seeds=2",
        "--model=mine.py:Mine", "--budget=2steps", *SMALL,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "rope" in result.stdout


def test_a_recipe_runs_no_code_that_no_flag_names(here: Path) -> None:
    (here / "theirs.yaml").write_text("model: {name: 'mine.py:Mine'}")
    for command in (["train", "--recipe=theirs.yaml"], ["compare", "theirs.yaml", "--dry-run"]):
        result = liere(*command)
        assert result.exit_code == 2
        assert "--model mine.py:Mine" in result.stderr.replace("\n", "")


def test_weights_depend_on_the_seed_and_not_on_the_encoding(here: Path) -> None:
    models = []
    for encoding, seed in (("rope", 1), ("rope-mixed", 1), ("rope", 2)):
        torch.manual_seed(seed + 7)
        model = UserModel(shape(), encoding, "mine.py:Mine")
        model.initialise(seed)
        models.append(model)
    first, second, third = (model.state_dict() for model in models)
    assert {name for name in first if name.startswith("encoding.")} == set()
    assert "encoding.frequencies" in second
    assert not any("inner.encoding" in name for name in second)
    for name, value in first.items():
        assert torch.equal(value, second[name])
    assert not torch.equal(first["inner.head.weight"], third["inner.head.weight"])
    groups = models[1].parameter_groups()
    assert groups["encoding"] == list(models[1].encoding.parameters())


def test_a_replaced_encoding_is_used(here: Path) -> None:
    """As in evaluations that extend one."""
    model = UserModel(shape(), "rope", "mine.py:Mine")
    inputs = torch.arange(12)[None]
    before = model(inputs)
    trained_encoding = model.encoding
    model.encoding = build_encoding("rope:theta=10", axes=1, heads=2, head_dim=8, grid=(16,))
    assert not torch.allclose(model(inputs), before)
    model.encoding = trained_encoding
    assert torch.equal(model(inputs), before)


@pytest.mark.parametrize(
    ("code", "error", "message"),
    [
        ("class Mine: pass", UsageError, "not a subclass of torch.nn.Module"),
        ("", UsageError, "unknown model in 'mine.py': 'Mine'"),
        ("raise ValueError('no')", LiereError, "failed: ValueError: 'no'"),
        (MINE.replace("self.encoding, ", "_, "), UsageError, "does not keep its encoding"),
        (MINE.replace("3 * shape.dim", "2 / 0"), LiereError, "can't be built: ZeroDivisionError"),
        (MINE.replace("x.mean(1)", "x").replace("shape.classes", "3"), LiereError, "[1, 12, 3]"),
    ],
)
def test_what_is_wrong_is_named(
    here: Path, code: str, error: type[LiereError], message: str
) -> None:
    (here / "mine.py").write_text(code)
    with pytest.raises(error) as raised:
        UserModel(shape(), "rope", "mine.py:Mine")(torch.arange(12)[None])
    assert message in str(raised.value)
    assert "mine.py:Mine" in str(raised.value) or "mine.py" in str(raised.value)


def test_an_unknown_model_is_refused(here: Path) -> None:
    for name, message in (("mine", "unknown model 'mine'"), ("mine.py", "mine.py:Class")):
        result = liere("train", "--data=text:verse.txt", f"--model={name}", "--budget=2steps")
        assert result.exit_code == 2
        assert message in result.stderr.replace("\n", " ")
    assert callable(liere_cli.train)
