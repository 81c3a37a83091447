"""``liere check``: one table, one file, and an exit code."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from liere_cli.checks import conformance, machine, orthogonality, registry, storage, training
from liere_cli.checks.base import Check, Finding, Setting, judged, worst
from liere_cli.checks.registry import CHECKS, run_checks
from liere_cli.cli.app import app

CPU = torch.device("cpu")


def liere_check(patch: pytest.MonkeyPatch, path: Path, *checks: Check) -> tuple[int, str, object]:
    """Exit code, output, and the file."""
    # the default is bound when the module is imported
    patch.setitem(run_checks.__kwdefaults__, "checks", checks)
    result = CliRunner().invoke(
        app, ["check", "--device=cpu", f"--json={path}"], env={"COLUMNS": "200"}
    )
    return result.exit_code, result.output, json.loads(path.read_text())


def test_the_machine_and_its_storage_are_described(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, output, record = liere_check(
        monkeypatch, tmp_path / "check.json", machine.CHECK, storage.CHECK
    )
    assert code == 0, output
    assert isinstance(record, dict)
    assert record["device"] == "cpu"
    assert record["failed"] == []
    (versions, *_), stored = record["checks"]["machine"], record["checks"]["storage"]
    assert versions["values"]["torch"] == torch.__version__
    assert {finding["state"] for finding in stored} <= {"ok", "info"}
    for word in ("versions", "GPUs", "stdlib", "locks", "Slurm"):
        assert word in output


def test_a_failure_and_an_error_are_lines_of_the_table_and_exit_code_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(setting: Setting) -> Iterator[Finding]:
        yield judged("first", True, "fine")
        yield judged("second", False, "wrong", {"error": 0.5})

    def raising(setting: Setting) -> Iterator[Finding]:
        yield judged("third", True, "fine")
        raise RuntimeError("CUDA error: no kernel image\nmore")

    code, output, record = liere_check(
        monkeypatch,
        tmp_path / "check.json",
        Check("one", "one check", failing),
        Check("two", "another check", raising),
    )
    assert code == 1
    assert "RuntimeError: CUDA error: no kernel image" in output
    assert "2 checks failed (one: second; two: another check); please report" in output
    assert isinstance(record, dict)
    assert record["failed"] == ["one: second", "two: another check"]
    assert record["checks"]["one"][1]["values"] == {"error": 0.5}


@pytest.mark.parametrize("wrong", [float("nan"), 2.0])
def test_an_error_above_the_allowed_one_fails(wrong: float) -> None:
    assert worst("scores", {"a": 0.5, "b": 0.1}, 1.0, "error").state == "ok"
    finding = worst("scores", {"a": 0.5, "b": wrong}, 1.0, "error")
    assert finding.state == "failed"
    assert finding.text.endswith("above it: b")


def test_encodings_and_training_pass_on_a_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same functions check a GPU."""
    some = [case for case in conformance.cases(kind="whole") if "liere" in case.id]
    for module in (conformance, orthogonality):
        monkeypatch.setattr(module, "cases", lambda kind: some)
    monkeypatch.setattr(training, "FEW", ("liere:block=8",))
    monkeypatch.setattr(training, "DATA", {2: training.DATA[2], 1: "stdlib:grid=16"})
    checks = (conformance.CHECK, orthogonality.CHECK, training.DETERMINISM, training.RESUME)
    report = run_checks(CPU, outputs=tmp_path, checks=checks)
    assert not report.failed, report.findings
    states = {finding.state for findings in report.findings.values() for finding in findings}
    assert states == {"ok", "info"}


def test_wrong_scores_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that computes float32 with the precision of TF32."""
    case = next(case for case in conformance.cases(kind="whole") if case.spec == "rope-mixed")
    monkeypatch.setattr(conformance, "cases", lambda kind: [case])
    exact = conformance.scored

    def rounded(*given: object) -> torch.Tensor:
        scores = exact(*given)  # type: ignore[arg-type]
        return scores * (1 + 1e-3) if scores.dtype == torch.float32 else scores

    monkeypatch.setattr(conformance, "scored", rounded)
    report = run_checks(CPU, outputs=tmp_path, checks=(conformance.CHECK,))
    assert "conformance: scores, float32" in report.failed


def test_checks_have_names_of_their_own() -> None:
    assert len({check.name for check in CHECKS}) == len(CHECKS) == len(registry.CHECKS)


@pytest.mark.stress
def test_every_check_passes_on_a_cpu(tmp_path: Path) -> None:
    report = run_checks(CPU, outputs=tmp_path)
    assert not report.failed, report.findings


@pytest.mark.gpu
def test_every_check_passes_on_a_gpu(tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU")
    report = run_checks(torch.device("cuda"), outputs=tmp_path)
    assert not report.failed, report.findings
