"""Data sets of the user's own code and objects."""

import re
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import liere_cli as liere
from liere_cli.config.files import load_recipe
from liere_cli.data import Dataset, Examples, build_dataset, registry
from liere_cli.errors import LiereError, UsageError
from liere_cli.runs.build import RunSpec, assemble
from liere_cli.utils import user_code

PAGE = Path(__file__).parents[2] / "docs" / "add-your-data.md"


@pytest.fixture
def stripes(tmp_path: Path) -> Path:
    """The class of the page of documentation."""
    (code,) = re.findall(r"```python\n# stripes.py\n(.*?)```", PAGE.read_text(), re.S)
    path = tmp_path / "stripes.py"
    path.write_text(code)
    return path


def run_spec(data: str) -> RunSpec:
    flags = {"encoding": "axial", "data": data, "model": {"layers": 1, "dim": 16, "heads": 2}}
    return assemble(load_recipe(flags=flags), device=torch.device("cpu"))


def test_a_class_in_a_file_is_a_data_set(stripes: Path) -> None:
    dataset = build_dataset(f"{stripes}:Stripes,grid=16".replace("Stripes,", "Stripes:"))
    examples = dataset.load("train")
    assert isinstance(examples, Examples)
    assert examples.inputs.shape == (400, 3, 16, 16)
    assert dataset.patch == (2, 2)


def test_a_run_is_identified_by_code_and_version_and_not_by_the_path(
    stripes: Path, tmp_path: Path
) -> None:
    first = run_spec(f"{stripes}:Stripes")
    assert first.recipe.data["name"] == f"{stripes}:Stripes"
    (tmp_path / "moved").mkdir()
    moved = tmp_path / "moved" / "stripes.py"
    moved.write_text(stripes.read_text())
    assert run_spec(f"{moved}:Stripes").run_id == first.run_id
    assert run_spec(f"{moved}:Stripes:grid=32").run_id != first.run_id
    changed = tmp_path / "changed.py"
    changed.write_text(stripes.read_text().replace('version = "1"', 'version = "2"'))
    assert run_spec(f"{changed}:Stripes").run_id != first.run_id


def test_a_class_in_a_file_is_trained_by_the_command(stripes: Path, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from liere_cli.cli.app import app

    flags = ["--set", "model.layers=1", "--set", "model.dim=16", "--set", "model.heads=2"]
    command = ["train", "--data", f"{stripes}:Stripes:grid=16", "--encoding", "axial"]
    result = CliRunner().invoke(
        app, [*command, "--budget", "3steps", "--out", str(tmp_path / "out"), *flags]
    )
    assert result.exit_code == 0, result.output
    (run,) = (tmp_path / "out" / "stripes").iterdir()
    # evaluating a run of others' code runs it where a flag names it only
    arguments = ["eval", str(run), "--grid", "32", "--out", str(tmp_path / "out")]
    refused = CliRunner().invoke(app, arguments)
    assert f"name it in a flag: --data {stripes}:Stripes" in refused.output.replace("\n", "")
    moved = stripes.rename(tmp_path / "moved.py")
    evaluated = CliRunner().invoke(app, [*arguments, "--data", f"{moved}:Stripes"])
    assert evaluated.exit_code == 0, evaluated.output


def test_the_conformance_tests_pass_and_find_what_is_wrong(stripes: Path, tmp_path: Path) -> None:
    def conformance(spec: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "liere_cli.conformance", "--data", spec, "-n0", "-q"]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)

    good = conformance("stripes.py:Stripes:grid=16")
    assert good.returncode == 0, good.stdout
    random = stripes.read_text().replace(".manual_seed(seed)", "")
    (tmp_path / "unseeded.py").write_text(
        random.replace("Generator()", "Generator()\n        random.seed()")
    )
    bad = conformance("unseeded.py:Stripes:grid=16")
    assert bad.returncode == 1
    assert "differ from one reading to the next" in bad.stdout


CODE = """
from liere_cli.data import ItemDataset
class Data(ItemDataset):
    name = {name!r}
    classes = 2
    def items(self, split):
        {items}
"""


@pytest.mark.parametrize(
    ("items", "sentence"),
    [
        ("raise KeyError('x')", r"data set 'own', train: KeyError: .*own.py, line 7"),
        ("return [(None, 5)]", "a label is 5, but there are 2 classes"),
        ("return [(__import__('numpy').zeros((3, 2, 2)), 0)]", r"shape \(3, 2, 2\), but"),
        ("return [(__import__('numpy').ones((3, 64, 64)) * 3, 0)]", "not normalised"),
        ("return [('file.png', 0)]", "item 0: an input has the shape"),
    ],
)
def test_faults_of_own_code_are_one_sentence(items: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(CODE.format(name="own", items=items))
    dataset = build_dataset(f"{tmp_path / 'own.py'}:Data")
    with pytest.raises(LiereError, match=sentence):
        read(dataset)


def read(dataset: Dataset) -> None:
    examples = dataset.load("train")
    assert isinstance(examples, Examples)
    assert not isinstance(examples.inputs, torch.Tensor)
    examples.inputs.decode(0)


def test_what_is_no_data_set_is_refused(stripes: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(CODE.format(name="No Name", items="pass"))
    for spec, sentence in {
        f"{stripes}": "add the class",
        f"{stripes}:Strips": "did you mean 'Stripes'",
        f"{stripes}:torch": "not a subclass",
        f"{tmp_path}/none.py:Data": "there is no file",
        f"{tmp_path}/bad.py:Data": "small letters, digits and hyphens",
    }.items():
        with pytest.raises(UsageError, match=sentence):
            build_dataset(spec)


def test_installed_data_sets_are_listed(stripes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(stripes.parent))
    point = EntryPoint("striped", "stripes:Stripes", "liere.data")
    monkeypatch.setattr(
        user_code, "entry_points", lambda group: [point] if group == "liere.data" else []
    )
    registry.available.cache_clear()
    try:
        assert "striped" in registry.available()
        assert build_dataset("striped:grid=16").load("test")
    finally:
        registry.available.cache_clear()


class Torch(torch.utils.data.Dataset[Any]):
    def __init__(self, count: int, kind: str) -> None:
        self.count, self.kind, self.read = count, kind, 0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> tuple[Any, int]:
        self.read += 1
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8)
        if self.kind == "image":
            return Image.fromarray(pixels), number % 2
        return torch.from_numpy(pixels).permute(2, 0, 1) / 255, number % 2


@pytest.mark.parametrize("kind", ["image", "tensor"])
def test_objects_are_stored_once_for_each_name_and_version(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIERE_CACHE", str(tmp_path))
    data = Torch(60, kind)
    spec = liere.data_from(data, name="mine", version="1")
    dataset = build_dataset(spec)
    assert [len(dataset.load(split)) for split in ("train", "val", "test")] == [48, 6, 6]
    fingerprint = dataset.fingerprint
    assert liere.data_from(data, name="mine", version="1") == spec
    assert data.read == 60
    splits = {"train": Torch(40, kind), "test": Torch(10, kind)}
    other = build_dataset(liere.data_from(splits, name="mine", version="2"))
    assert len(other.load("test")) == 10
    assert other.fingerprint != fingerprint


def test_rows_of_the_library_datasets_are_items(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setenv("LIERE_CACHE", str(tmp_path))
    images = [Torch(40, "image")[n][0] for n in range(40)]
    rows = datasets.Dataset.from_dict(
        {"img": images, "y": [n % 2 for n in range(40)]},
        features=datasets.Features({"img": datasets.Image(), "y": datasets.Value("int64")}),
    )
    spec = liere.data_from(rows, name="rows", version="1", columns=("img", "y"))
    assert len(build_dataset(spec).load("train")) == 32
    with pytest.raises(LiereError, match=r"train, item 0.*'image'"):
        liere.data_from({"train": rows}, name="rows", version="2")
    with pytest.raises(UsageError, match="version is 3, but letters"):
        liere.data_from(rows, name="rows", version=3)  # type: ignore[arg-type]


def test_a_grid_resizes_items_of_several_sizes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIERE_CACHE", str(tmp_path))
    images = [Image.new("RGB", (10 + n, 20), (n, 0, 0)) for n in range(40)]
    items = [(image, n % 2) for n, image in enumerate(images)]
    with pytest.raises(LiereError, match=r"item 1 .*give a grid, as grid=64, to resize them"):
        liere.data_from(items, name="sizes", version="1")
    assert not list(tmp_path.rglob("*.npz")) + list(tmp_path.rglob("*unfinished*"))
    spec = liere.data_from(items, name="sizes", version="1", grid=16)
    train = build_dataset(spec).load("train")
    assert isinstance(train, Examples)
    assert train.inputs.shape == (32, 3, 16, 16)
    assert liere.data_from(items, name="sizes", version="1", grid="8x12") != spec
    arrays = [(torch.rand(1, 4, 8 + n, 8), n % 2) for n in range(20)]
    volumes = build_dataset(liere.data_from(arrays, name="a", version="1", grid=(4, 8, 8)))
    assert volumes.load("val").inputs.shape[1:] == (1, 4, 8, 8)  # type: ignore[union-attr]


def test_names_and_versions_that_join_to_equal_text_are_several_sets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIERE_CACHE", str(tmp_path))
    items = Torch(40, "image")
    first = liere.data_from(items, name="a-b", version="c")
    assert liere.data_from(items, name="a", version="b-c") != first


@pytest.mark.parametrize(
    ("items", "sentence"),
    [
        ([], "has no items"),
        (iter([]), "a sequence with a length"),
        ({"extra": [1]}, "a split is 'extra', but train, val or test"),
        ({"val": [1], "validation": [1]}, "'validation' is a second split for val"),
        ([(torch.zeros(3, 4, 4), 0.5)], "item 0 .*float"),
        ([(torch.zeros(5), 0)], r"shape \(5,\), but \[channels"),
        ([(np.zeros((3, 4, 4), np.int64), 0)], "values are int64"),
        ([1], "item 0 .*1"),
    ],
)
def test_objects_that_are_no_items_are_refused(
    items: Any, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIERE_CACHE", str(tmp_path))
    with pytest.raises(LiereError, match=sentence):
        liere.data_from(items, name="wrong", version="1")


@pytest.mark.parametrize("wrap", [lambda data: data, lambda data: {"train": data, "test": data}])
def test_an_object_as_data_names_data_from(wrap: Any) -> None:
    for function in (liere.compare, liere.train):
        with pytest.raises(UsageError, match=r"data_from\(object, name="):
            function(data=wrap(Torch(4, "image")))
