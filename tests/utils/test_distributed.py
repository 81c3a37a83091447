"""Several processes that train one run: the results of one process, one writer, one message."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from liere_cli.config.files import load_recipe
from liere_cli.data import ByteStream, Examples
from liere_cli.data.batches import TrainingBatches, evaluation_batches
from liere_cli.errors import UsageError
from liere_cli.runs.build import assemble
from liere_cli.runs.folder import Run
from liere_cli.runs.summary import RunSummary
from liere_cli.training.run import train_run
from liere_cli.utils.distributed import Ranks
from support.together import CPU, Pair, pair

STEPS = 12
#: between sums of float32 in another order; see docs/scale.md
CURVE, WEIGHTS = 1e-4, 1e-3
DATA = {
    "images": "pointing:train=40,val=20,test=20",
    "video": "motion:train=40,val=20,test=20",
}


@pytest.fixture(scope="module")
def two() -> Iterator[Pair]:
    with pair() as started:
        yield started


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    path = tmp_path / "verse.txt"
    path.write_text("The quick brown fox jumps over the lazy dog. " * 40)
    return path


def flags_of(text_file: Path, data: str, dropout: float = 0.0, **training: Any) -> dict[str, Any]:
    text = {"name": "text", "path": str(text_file), "grid": 16}
    settings = {"batch": 8, "budget": f"{STEPS}steps", "log_every": 1, "validations": 3}
    return {
        "encoding": "liere",
        "data": DATA.get(data, text),
        "model": {"layers": 1, "dim": 16, "heads": 2, "dropout": dropout},
        "training": {**settings, **training},
    }


def alone(flags: dict[str, Any], outputs: Path) -> Run:
    run_spec = assemble(load_recipe(flags=flags), device=CPU)
    train_run(run_spec, outputs=outputs, device=CPU)
    return run_spec.run(outputs)


def run_in(outputs: Path) -> Run:
    (folder,) = outputs.glob("*/*/recipe.yaml")
    return Run(folder.parent)


def curve(run: Run) -> list[dict[str, Any]]:
    return [
        {key: value for key, value in line.items() if key != "seconds"} for line in run.metrics()
    ]


def assert_equal(one: Run, other: Run) -> None:
    """Bit for bit."""
    assert curve(one) == curve(other)
    for name in ("last.safetensors", "best.safetensors", "items-test.safetensors"):
        assert one.path(name).read_bytes() == other.path(name).read_bytes()


@pytest.mark.parametrize("data", ["text", *DATA])
def test_two_processes_learn_as_one_does(
    two: Pair, text_file: Path, tmp_path: Path, data: str
) -> None:
    flags = flags_of(text_file, data)
    one = alone(flags, tmp_path / "one")
    summaries = two.train(flags, tmp_path / "two")
    both = run_in(tmp_path / "two")
    assert summaries == [both.summary(), both.summary()]
    assert both.name == one.name
    assert '"processes": 2' in both.path("environment.json").read_text()
    assert len(curve(both)) == len(curve(one)) >= STEPS
    for ours, theirs in zip(curve(both), curve(one), strict=True):
        assert ours == pytest.approx(theirs, rel=CURVE, abs=0)
    ours, theirs = (load_file(run.path("last.safetensors")) for run in (both, one))
    largest = max(float((ours[name] - theirs[name]).abs().max()) for name in theirs)
    rate = load_recipe(flags=flags).training.learning_rate
    assert largest <= WEIGHTS * rate * STEPS


@pytest.mark.parametrize("data", ["text", "images"])
def test_whole_parts_give_the_bits_of_one_process(
    two: Pair, text_file: Path, tmp_path: Path, data: str
) -> None:
    """Two sums of two numbers are equal in either order, and each part draws its own dropout."""
    flags = flags_of(text_file, data, dropout=0.1, accumulate=2)
    one = alone(flags, tmp_path / "one")
    two.train(flags, tmp_path / "two")
    assert_equal(run_in(tmp_path / "two"), one)


@pytest.mark.parametrize("rank", [0, 1])
def test_any_rank_stops_all_and_one_process_resumes(
    two: Pair, text_file: Path, tmp_path: Path, rank: int
) -> None:
    flags = flags_of(text_file, "images", dropout=0.1, accumulate=2)
    whole = alone(flags, tmp_path / "whole")
    assert two.train(flags, tmp_path / "parts", stop=(rank, 5)) == ["stopped", "stopped"]
    interrupted = run_in(tmp_path / "parts")
    assert interrupted.summary() is None
    assert interrupted.path("checkpoints").is_dir()
    if rank == 0:
        alone(flags, tmp_path / "parts")
    else:
        assert two.train(flags, tmp_path / "parts", stop=(rank, 9)) == ["stopped", "stopped"]
        two.train(flags, tmp_path / "parts")
    assert_equal(interrupted, whole)


def test_two_processes_resume_the_run_of_one_and_find_it_finished(
    two: Pair, text_file: Path, tmp_path: Path
) -> None:
    flags = flags_of(text_file, "text", dropout=0.1, accumulate=2)
    whole = alone(flags, tmp_path / "whole")
    run_spec = assemble(load_recipe(flags=flags), device=CPU)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("liere_cli.utils.signals.Stop.requested", True)
        with pytest.raises(KeyboardInterrupt):
            train_run(run_spec, outputs=tmp_path / "parts", device=CPU)
    found = two.train(flags, tmp_path / "parts")
    assert_equal(run_spec.run(tmp_path / "parts"), whole)
    assert two.train(flags, tmp_path / "parts") == found


def test_a_budget_of_time_ends_all_at_the_same_step(
    two: Pair, text_file: Path, tmp_path: Path
) -> None:
    flags = flags_of(text_file, "text", budget="0.3s")
    first, second = two.train(flags, tmp_path)
    assert first == second
    assert isinstance(first, RunSummary)
    assert first.seconds is not None
    assert first.seconds >= 0.3


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"batch": 9}, "training.batch 9 can't be split over 2 processes"),
        ({"dropout": 0.1, "accumulate": 1}, "set training.accumulate=2"),
    ],
)
def test_work_that_cannot_be_shared_is_refused_before_anything_is_written(
    text_file: Path, tmp_path: Path, settings: dict[str, Any], sentence: str
) -> None:
    run_spec = assemble(load_recipe(flags=flags_of(text_file, "text", **settings)), device=CPU)
    with pytest.raises(UsageError, match=sentence):
        train_run(run_spec, outputs=tmp_path / "out", device=CPU, ranks=Ranks(0, 2))
    assert not (tmp_path / "out").exists()


@given(size=st.integers(1, 6), share=st.integers(1, 4), step=st.integers(0, 9))
def test_the_rows_of_all_ranks_are_the_batch(size: int, share: int, step: int) -> None:
    random = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (13, 1, 6, 6), generator=random, dtype=torch.uint8)
    examples = Examples(pixels, torch.arange(13), torch.arange(13))
    text = ByteStream(torch.arange(200, dtype=torch.uint8))
    for made in (
        TrainingBatches(examples, batch_size=size * share, seed=1, flips=True, shift=2),
        TrainingBatches(text, batch_size=size * share, seed=1, context=5),
    ):
        parts = [made.at(step, Ranks(rank, size).rows(size * share)) for rank in range(size)]
        for whole, split in zip(made.at(step), zip(*parts, strict=True), strict=True):
            assert torch.equal(whole, torch.cat(split))


@given(size=st.integers(1, 4), count=st.integers(2, 60), limit=st.none() | st.integers(1, 9))
def test_ranks_share_the_batches_of_an_evaluation(size: int, count: int, limit: int | None) -> None:
    text = ByteStream(torch.arange(count, dtype=torch.uint8))
    asked: dict[str, Any] = {"batch_size": 3, "context": 5, "limit": limit}
    whole = [batch[1].tolist() for batch in evaluation_batches(text, **asked)]
    for rank in range(size):
        own = evaluation_batches(text, **asked, turns=slice(rank, None, size))
        assert [batch[1].tolist() for batch in own] == whole[rank::size]


def test_a_failing_rank_ends_torchrun_with_one_sentence(tmp_path: Path, text_file: Path) -> None:
    (tmp_path / "broken.py").write_text(
        "import os\n"
        "from liere_cli.encodings import PositionEncoding\n"
        "class Broken(PositionEncoding):\n"
        "    def prepare(self, positions):\n"
        "        if os.environ['RANK'] == '1':\n"
        "            raise ValueError('not today')\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    command += ["-m", "liere_cli", "train", "--encoding", "broken.py:Broken", "--device", "cpu"]
    command += ["--data", "text:verse.txt", "--budget", "5steps", "--set", "training.batch=8"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    ended = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 1
    spoken = [line for line in ended.stderr.splitlines() if "error: " in line]
    assert len(spoken) == 1
    assert "not today" in spoken[0]
    assert not list(tmp_path.glob("outputs/*/*/summary.json"))
