"""The guide to adding an encoding, followed literally; and errors that say what to change."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from liere_cli.cli.app import app
from liere_cli.conformance.cases import Case, cases, choices
from liere_cli.encodings import Grid, build_encoding

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "add-your-encoding.md").read_text()
FAULTY = """
import torch
from torch import nn
from liere_cli.encodings import EncodingOptions, PositionEncoding

class Faulty(PositionEncoding):
    name = summary = source = formula = "faulty"
    relative = True
    Options = EncodingOptions

    def __init__(self, shape, options=None):
        super().__init__(shape, options)
        self.rates = nn.Parameter(torch.zeros(shape.head_dim))
        self.idle = nn.Parameter(torch.zeros(2))

    def initialise(self, stream=lambda name: None):
        nn.init.normal_(self.rates)

    def prepare(self, positions):
        return positions.sum(1, keepdim=True) * self.rates

    def encode_qk(self, q, k, state, layer):
        prefix = q.shape[2] - len(state)
        factors = nn.functional.pad(state.sin(), (0, 0, prefix, 0), value=0.5)
        return q * factors, k * factors
"""


@pytest.fixture
def tisa(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    Path("tisa.py").write_text(block)
    return "tisa.py:TISA"


def conformance(*arguments: str) -> subprocess.CompletedProcess[str]:
    root = str(Path(__file__).resolve().parents[2])
    return subprocess.run(
        [sys.executable, "-m", "liere_cli.conformance", "-n0", "--tb=line", *arguments],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": root},
    )  # fmt: skip


def test_the_guides_encoding_passes_the_tests_of_all_encodings(tisa: str) -> None:
    done = conformance(f"--encoding={tisa}")
    assert done.returncode == 0, done.stdout[-3000:]
    assert re.search(r"\d{2,} passed", done.stdout)
    assert "skipped" not in done.stdout


def test_the_guides_encoding_is_its_papers_formula(tisa: str) -> None:
    encoding = build_encoding(tisa, axes=2, heads=2, head_dim=4, depth=2, seed=0).double()
    a, b, c = (p.detach()[1] for p in encoding.parameters())
    places = Grid((3, 2)).positions("index").double()
    state = encoding.prepare(places)
    bias = encoding.bias(state, state, 1)
    assert bias is not None
    for n in range(2):
        for i, p in enumerate(places):
            for j, q in enumerate(places):
                expected = sum(
                    a[n, s] * torch.exp(-abs(b[n, s]) * sum((q - p - c[n, s]) ** 2))
                    for s in range(5)
                )
                torch.testing.assert_close(bias[n, i, j].detach(), expected)


def test_the_guides_encoding_trains_and_is_compared(tisa: str) -> None:
    Path("verse.txt").write_text("The quick brown fox jumps over the lazy dog. " * 40)
    tiny = ["--data=text:verse.txt,grid=16", "--budget=4steps", "--set=model.layers=1"]
    tiny += ["--set=model.dim=16", "--set=model.heads=2", "--set=training.batch=4"]
    trained = CliRunner().invoke(app, ["train", "--encoding", tisa, *tiny, "--json"])
    assert trained.exit_code == 0, trained.output
    summary = json.loads(trained.stdout)
    assert summary["encoding_parameters"] == 2 * 5 * 3
    encodings = f"--encodings=rope,{tisa}:kernels=3"
    compared = CliRunner().invoke(app, ["compare", encodings, *tiny, "--seeds=2", "--format=csv"])
    assert compared.exit_code == 0, compared.output
    assert "TISA:kernels=3" in compared.stdout


def test_failures_say_what_to_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("faulty.py").write_text(FAULTY)
    done = conformance(
        "--encoding=faulty.py:Faulty", "-k", "2d and (dtypes or prefix or reach or seed or says_so)"
    )
    assert done.returncode == 1
    for words in (
        r"must keep the dtype torch.bfloat16, not return torch.float32",
        r"must pass unchanged; otherwise set the class variable prefix",
        r"no gradient reaches 'idle': it is unused",
        r"draw every parameter in initialise, with generator=stream\('its name'\)",
        r"it says relative = True, but scores change",
    ):
        assert re.search(words, done.stdout), words
    assert "qk_width" not in done.stdout


def test_an_unknown_encoding_is_one_sentence() -> None:
    done = conformance("--encoding=nowhere.py:Mine")
    assert done.returncode == 4
    (sentence,) = done.stderr.strip().splitlines()
    assert sentence == "ERROR: encoding 'nowhere.py:Mine': there is no file 'nowhere.py'"
    assert "Traceback" not in done.stdout


def test_without_pytest_one_sentence_says_what_to_install() -> None:
    code = "import sys, runpy; sys.modules['pytest'] = None; "
    code += "runpy.run_module('liere_cli.conformance', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "the conformance tests need pytest: pip install pytest\n"


def test_every_choice_of_an_option_is_a_case() -> None:
    expected = {"layout=half-split", "learned=true", "learned=scale", "values=true"}
    expected |= {f"share={name}" for name in ("none", "layers", "heads", "all")}
    assert set(choices("rope")) == {f"rope:{choice}" for choice in expected}
    assert set(choices("liere:share=all")) == {"liere:share=all,values=true"}
    tested = cases(kind="case")
    assert Case("liere:share=heads", 3) in tested
    assert Case("absolute:resize=linear", 2) in tested
    # refused: a clamp without a square grid, and sharing of what is not learned
    assert not [case for case in tested if case.spec in ("spiral:clamp=true", "rope:share=all")]
    assert set(cases(["liere"])) == {Case("liere", axes) for axes in (1, 2, 3)}
