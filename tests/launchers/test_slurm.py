"""The Slurm launcher against a Slurm that the test plays: what it submits, waits for and reports.

tests/test_slurm_real.py has the real one.
"""

import json
import os
import re
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from liere_cli.cli.app import app
from liere_cli.config.compare import SlurmSettings
from liere_cli.config.files import load_recipe
from liere_cli.errors import LiereError, UsageError
from liere_cli.launchers import slurm as slurm_module
from liere_cli.launchers.events import Event, Notice, RunLockedElsewhere
from liere_cli.launchers.select import select_launcher
from liere_cli.launchers.slurm import slurm
from liere_cli.launchers.slurm_jobs import JobBook
from liere_cli.launchers.slurm_task import Job
from liere_cli.planning.from_recipe import plan_comparison
from liere_cli.planning.plan import PlannedRun
from liere_cli.planning.progress import Outcome
from liere_cli.runs.build import assemble
from liere_cli.runs.context import Context
from liere_cli.utils.signals import stoppable
from support.synthetic_runs import TINY, write_run

#: says a new job number, keeps the script, and marks its jobs as waiting
SBATCH = """#!/bin/sh
[ -f "$FAKE/refuse" ] && { echo "sbatch: error: invalid partition specified: gpu" >&2; exit 1; }
number=$(($(cat "$FAKE/number") + 1)); echo $number > "$FAKE/number"
cp "$1" "$FAKE/$number.sh"
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\)%.*/\\1/p' "$1")
if [ -z "$last" ]; then echo "$number|PENDING||Priority" >> "$FAKE/jobs"
else for task in $(seq 0 $last); do echo "${number}_$task|PENDING||Priority"; done >> "$FAKE/jobs"
fi
echo "Submitted batch job $number"
"""
SQUEUE = """#!/bin/sh
[ -f "$FAKE/silent" ] && { echo "slurm_load_jobs error: Unable to contact slurm" >&2; exit 1; }
cat "$FAKE/jobs"
"""


class FakeSlurm:
    """The state of all jobs, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def set(self, job: str, state: str, node: str = "") -> None:
        lines = (self.folder / "jobs").read_text().splitlines()
        kept = [line for line in lines if line.split("|")[0] != job]
        text = "".join(f"{line}\n" for line in [*kept, f"{job}|{state}|{node}|None"])
        (self.folder / "jobs.new").write_text(text)
        (self.folder / "jobs.new").replace(self.folder / "jobs")

    @property
    def submissions(self) -> int:
        return int((self.folder / "number").read_text())

    def script(self, number: int) -> str:
        return (self.folder / f"{number}.sh").read_text()


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    pytest.importorskip("submitit", reason="the extra 'slurm' is not installed")
    folder = tmp_path / "fake slurm"
    folder.mkdir()
    for name, text in (("sbatch", SBATCH), ("squeue", SQUEUE), ("srun", "#!/bin/sh\n")):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    (folder / "number").write_text("0\n")
    (folder / "jobs").write_text("")
    monkeypatch.setenv("FAKE", str(folder))
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(slurm_module, "FIRST_POLL_SECONDS", 0.01)
    monkeypatch.setattr(slurm_module, "POLL_SECONDS", 0.02)
    return FakeSlurm(folder)


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(tmp_path / "outputs", None, "cpu", "mine")


def run_specs(context: Context) -> tuple[PlannedRun, ...]:
    compare = {"encodings": ["axial", "none"], "data": ["pointing"], "seeds": 1}
    recipe = load_recipe(flags={"experiment": "mine", "model": TINY, "compare": compare})
    return plan_comparison(recipe, context).runs


def finish(run: PlannedRun, context: Context) -> None:
    assert run.request is not None
    write_run(assemble(run.request, device=torch.device("cpu")), context.outputs)


def book_of(context: Context) -> JobBook:
    return JobBook(context.outputs.resolve() / "mine" / "slurm")


def run(
    made: tuple[PlannedRun, ...],
    context: Context,
    at_looks: dict[int, Callable[[], None]],
    settings: SlurmSettings | None = None,
) -> tuple[dict[str, Outcome], list[Event]]:
    """Launches; before the n-th look at the queue something happens."""
    events: list[Event] = []
    look, looks = slurm_module.job_states, 0

    def looked() -> dict[str, slurm_module.JobState]:
        nonlocal looks
        looks += 1
        assert looks < 60, "it waits for what never comes"
        at_looks.get(looks, lambda: None)()
        return look()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slurm_module, "job_states", looked)
        return slurm(settings or SlurmSettings())(made, context, events.append), events


def test_an_array_is_submitted_waited_for_and_forgotten(fake: FakeSlurm, context: Context) -> None:
    made = run_specs(context)
    settings = SlurmSettings.validated(
        {"partition": "gpu", "time": "90m", "gpus": 1, "memory": "16G", "account": "me"}, "test"
    )
    found, events = run(
        made,
        context,
        {
            2: lambda: fake.set("1_0", "RUNNING", "node7"),
            4: lambda: finish(made[0], context),
            6: lambda: finish(made[1], context),
        },
        settings,
    )
    assert [found[one.run_id].state for one in made] == ["finished"] * 2
    assert fake.submissions == 1
    for flag in (
        "partition=gpu", "time=90", "gpus-per-node=1", "mem=16G", "account=me", "requeue",
        "array=0-1%2", "cpus-per-task=1", "job-name=liere-mine",
    ):  # fmt: skip
        assert f"#SBATCH --{flag}\n" in fake.script(1)
    seen = {(one.who, one.queued) for one in events if isinstance(one, RunLockedElsewhere)}
    assert {("job 1_0", "Priority"), ("job 1_0 on node7", None)} <= seen
    assert book_of(context).read() == {}


def test_setup_lines_and_further_options_reach_the_script(
    fake: FakeSlurm, context: Context
) -> None:
    made = run_specs(context)[:1]
    given = {
        "setup": ["module load cuda", "source ~/env/bin/activate"],
        "parameters": {"nice": 100, "mail-type": "END"},
        "srun": ["--container-image=/images/torch.sqsh"],
    }
    settings = SlurmSettings.validated(given, "test")
    run(made, context, {2: lambda: finish(made[0], context)}, settings)
    script = fake.script(1)
    assert "\nmodule load cuda\nsource ~/env/bin/activate\n" in script
    for flag in ("nice=100", "mail-type=END"):
        assert f"#SBATCH --{flag}\n" in script
    assert " --container-image=/images/torch.sqsh " in script


@pytest.mark.parametrize(
    ("device", "gpus", "partition", "expected"),
    [
        ("auto", None, "gpu", "add --slurm gpus=1, or --device cpu"),
        ("auto", None, None, ("cpu", None, 1)),
        ("auto", None, "mixed", "partition 'mixed' has GPUs"),
        ("auto", 0, "gpu", ("cpu", None, 1)),
        ("auto", 2, "gpu", ("cuda", "2", 2)),
        ("cpu", None, "gpu", ("cpu", None, 1)),
        ("cuda", None, "gpu", ("cuda", "1", 1)),
        ("cuda", 0, "gpu", ("cuda", None, 1)),
    ],
)
def test_runs_train_on_a_cpu_only_where_that_is_wanted(
    fake: FakeSlurm,
    context: Context,
    device: str,
    gpus: int | None,
    partition: str | None,
    expected: str | tuple[str, str | None, int],
) -> None:
    sinfo = "#!/bin/sh\nprintf 'cpu*|(null)\\ngpu|gpu:a100:4\\nmixed|lustre,gpu:4(S:0-1)\\n'\n"
    (fake.folder / "sinfo").write_text(sinfo)
    (fake.folder / "sinfo").chmod(0o755)
    settings = SlurmSettings(gpus=gpus, partition=partition)
    chosen = replace(context, device=device)
    if isinstance(expected, str):
        with pytest.raises(UsageError, match=expected):
            select_launcher("slurm", chosen, settings)
        return
    execution = select_launcher("slurm", chosen, settings)
    assert (execution.training.device, execution.training.gpus_per_run) == expected[::2]
    made = run_specs(context)[:1]

    def end() -> dict[str, slurm_module.JobState]:
        finish(made[0], context)
        return {}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slurm_module, "job_states", end)
        execution.launcher(made, context, lambda event: None)
    requested = re.findall(r"--gpus-per-node=(\d)", fake.script(1))
    assert requested == [expected[1]] * (expected[1] is not None)


def test_a_job_that_dies_is_submitted_again_a_bounded_number_of_times(
    fake: FakeSlurm, context: Context
) -> None:
    made = run_specs(context)[:1]

    def die(job: str, words: str = "") -> Callable[[], None]:
        def now() -> None:
            fake.set(job, "NODE_FAIL")
            book_of(context).log(job).write_text(f"starting\n{words}\n\n")

        return now

    found, events = run(
        made,
        context,
        {2: die("1"), 6: die("2"), 10: die("3", "Out of memory\x1b[31m")},
        SlurmSettings(resubmissions=2),
    )
    assert fake.submissions == 3
    outcome = found[made[0].run_id]
    assert outcome.state == "failed"
    assert "job 3 ended without a result (NODE_FAIL), after 3 submissions: Out of memory" in str(
        outcome.error
    )
    assert str(book_of(context).log("3")) in str(outcome.error)
    again = [one.text for one in events if isinstance(one, Notice) and "again" in one.text]
    assert again == [
        f"pointing · axial · seed 0: job {job} ended without a result (NODE_FAIL); submitted again"
        for job in "12"
    ]
    assert book_of(context).read() == {}


def test_a_job_that_says_why_it_failed_is_not_submitted_again(
    fake: FakeSlurm, context: Context
) -> None:
    made = run_specs(context)

    def fail() -> None:
        book_of(context).note(made[1].run_id, "1_1", "the disk is full")
        fake.set("1_1", "COMPLETED")

    found, _ = run(made, context, {2: lambda: finish(made[0], context), 3: fail})
    assert fake.submissions == 1
    assert found[made[0].run_id].state == "finished"
    assert str(found[made[1].run_id].error).startswith("the disk is full (log: ")


def test_a_run_that_another_experiment_has_is_found_there(
    fake: FakeSlurm, context: Context
) -> None:
    made = run_specs(context)[:1]

    def end() -> None:
        finish(made[0], context)
        (context.outputs / "mine" / made[0].run.name).rename(other / made[0].run.name)
        fake.set("1", "COMPLETED")

    other = context.outputs / "other"
    other.mkdir(parents=True)
    found, _ = run(made, context, {2: end})
    assert found[made[0].run_id].state == "finished"
    assert fake.submissions == 1


def test_a_second_launch_waits_for_the_jobs_of_the_first(fake: FakeSlurm, context: Context) -> None:
    made = run_specs(context)

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(made, context, {3: interrupt})
    found, events = run(
        made, context, {n + 2: lambda n=n: finish(made[n], context) for n in (0, 1)}
    )  # type: ignore[misc]
    assert fake.submissions == 1
    assert [found[one.run_id].state for one in made] == ["finished"] * 2
    remarks = [one.text for one in events if isinstance(one, Notice)]
    assert remarks == ["waiting for 2 jobs submitted earlier"]


def test_what_an_interruption_leaves_behind_is_said(fake: FakeSlurm, context: Context) -> None:
    told: list[Event] = []

    def listen(event: Event) -> None:
        told.append(event)
        if isinstance(event, RunLockedElsewhere):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        slurm(SlurmSettings())(run_specs(context), context, listen)
    assert isinstance(told[-1], Notice)
    assert "2 jobs went on in Slurm" in told[-1].text
    assert "'scancel 1' ends them" in told[-1].text


def test_a_slurm_that_falls_silent_is_waited_for_but_not_for_ever(
    fake: FakeSlurm, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = run_specs(context)
    silent = fake.folder / "silent"
    found, _ = run(
        made,
        context,
        {
            1: silent.touch,
            4: silent.unlink,
            5: lambda: [finish(one, context) for one in made] and None,
        },
    )
    assert [found[one.run_id].state for one in made] == ["finished"] * 2
    silent.touch()
    monkeypatch.setattr(slurm_module, "SILENCE_SECONDS", 0.0)
    with pytest.raises(LiereError, match=r"Unable to contact slurm.*waits for them again"):
        run(made[:1], Context(context.outputs, None, "cpu", "other"), {})


def test_jobs_that_sbatch_refuses_are_one_sentence(fake: FakeSlurm, context: Context) -> None:
    (fake.folder / "refuse").touch()
    with pytest.raises(LiereError, match=r"sbatch did not take the jobs: .*invalid partition"):
        run(run_specs(context), context, {})


@pytest.mark.parametrize("content", ["", "[]", '{"format": 1}', '{"format": 1, "jobs": {"a": 3}}'])
def test_a_damaged_list_of_jobs_is_one_sentence(
    fake: FakeSlurm, context: Context, content: str
) -> None:
    book = book_of(context)
    book.folder.mkdir(parents=True)
    (book.folder / "jobs.json").write_text(content)
    with pytest.raises(LiereError, match=r"jobs.json: can't be read"):
        run(run_specs(context), context, {})
    assert fake.submissions == 0


@pytest.mark.parametrize(
    ("number", "turns"), [(signal.SIGUSR2, [signal.SIGUSR2]), (signal.SIGTERM, [])]
)
def test_a_notice_from_slurm_ends_the_run_resumably_and_asks_for_a_new_turn(
    context: Context, monkeypatch: pytest.MonkeyPatch, number: int, turns: list[int]
) -> None:
    pytest.importorskip("submitit", reason="the extra 'slurm' is not installed")
    made = run_specs(context)[0]
    asked: list[int] = []

    def train_until_noticed(*arguments: object, **settings: object) -> dict[str, Outcome]:
        with stoppable() as stop:
            os.kill(os.getpid(), number)
            raise KeyboardInterrupt(stop.number)

    monkeypatch.setattr("liere_cli.launchers.slurm_task.launch", train_until_noticed)
    before = signal.signal(signal.SIGUSR2, lambda number, frame: asked.append(number))
    try:
        with pytest.raises(KeyboardInterrupt):
            Job(made, context, book_of(context).folder, torch.get_num_threads())()
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert asked == turns


def test_a_job_notes_why_it_failed(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit", reason="the extra 'slurm' is not installed")
    made = run_specs(context)[0]
    monkeypatch.setenv("SLURM_JOB_ID", "21")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "17")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    gpu = Context(context.outputs, None, "cuda:99", "mine")
    Job(made, gpu, book_of(context).folder, torch.get_num_threads())()
    noted = str(book_of(context).noted(made.run_id, "17_3"))
    assert "--device cuda:99" in noted
    assert "the job got no GPU on" in noted
    assert book_of(context).noted(made.run_id, "17_4") is None


def compare(*flags: str) -> Result:
    return CliRunner().invoke(app, ["compare", "--data=pointing", "--encodings=axial", *flags])


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--slurm=time=2h"], "--slurm time=2h: is for jobs; add --launcher slurm"),
        (["--launcher=slurm", "--slurm=gpu"], "--slurm gpu: expected KEY=VALUE"),
        (["--launcher=slurm", "--slurm=partion=a"], "did you mean 'partition'?"),
        (["--launcher=slurm", "--slurm=partition=a\nrm"], "must be one word"),
        (["--launcher=slurm", "--slurm=time=10s"], "but must be at least 5m"),
        (["--launcher=slurm", "--slurm=parameters={array: 3}"], "none of array, error"),
        (["--launcher=slurm", "--gpus-per-run=2"], "in Slurm it is --slurm gpus=2"),
        (["--launcher=slurm", "--slurm=memory=lots"], "a number and K, M, G or T, as 16G"),
        (["--launcher=slrum"], "slrum"),
    ],
)
def test_wrong_flags_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: list[str], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = compare(*flags)
    assert result.exit_code == 2, result.output
    assert sentence in result.stderr
    assert "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []


def test_without_slurm_or_submitit_it_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "submitit", None)
    result = compare("--launcher=slurm")
    assert result.exit_code == 2
    assert "pip install 'liere[slurm]'" in result.stderr
    monkeypatch.setitem(sys.modules, "submitit", object())
    result = compare("--launcher=slurm")
    assert result.exit_code == 2
    assert "there is no 'sbatch' here" in result.stderr


def test_the_jobs_of_a_comparison_are_no_runs(context: Context) -> None:
    made = run_specs(context)
    for one in made:
        finish(one, context)
    folder = context.outputs / "mine" / "slurm"
    folder.mkdir()
    (folder / "jobs.json").write_text(json.dumps({"format": 1, "jobs": {}}))
    paths = [str(path) for path in sorted((context.outputs / "mine").iterdir())]
    result = CliRunner().invoke(app, ["compare", *paths])
    assert result.exit_code == 0, result.output
