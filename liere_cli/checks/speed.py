"""Speed and memory of rotations and training steps, against rotary and no encoding."""

from collections.abc import Iterator

from liere_cli.bench.rotations import rotation_rows
from liere_cli.bench.step import PAPER_CASES, Case, StepShape, step_rows
from liere_cli.bench.timing import Row
from liere_cli.checks.base import Check, Finding, Setting, Value

#: on a CPU: shows that steps run, and about how fast
_SMALL = Case("vit-nano/liere-8", StepShape("nano", (8, 8), 16), "liere:block=8")
REPEATS = 5


def _run(setting: Setting) -> Iterator[Finding]:
    if not setting.on_gpu:
        yield from map(
            _finding, step_rows([_SMALL], device=setting.device, repeats=3, controls=True)
        )
        return
    for compiled in (False, True):
        for case in PAPER_CASES:
            subject = f"{case.name}, {'compiled' if compiled else 'eager'}"
            if setting.late:
                yield Finding(subject, "skipped", "no time is left for it")
                continue
            try:
                rows = step_rows(
                    [case], device=setting.device, repeats=REPEATS, compiled=compiled, controls=True
                )
            except RuntimeError as error:
                if "out of memory" not in str(error):
                    raise
                yield Finding(subject, "skipped", "the GPU has too little memory")
                continue
            yield from (_finding(row, subject) for row in rows)
    if not setting.late:
        yield from map(_finding, rotation_rows(device=setting.device, repeats=REPEATS))


def _finding(row: Row, subject: str | None = None) -> Finding:
    text = (
        f"{row['ours_ms']:.1f} ms, {row['reference']} {row['reference_ms']:.1f} ms, "
        f"ratio {row['speedup']:.2f} ({row['spread'][0]:.2f} to {row['spread'][1]:.2f})"
    )
    values: dict[str, Value] = {
        key: value for key, value in row.items() if isinstance(value, str | int | float)
    }
    memory = values.get("memory_mib"), values.get("reference_memory_mib")
    if isinstance(memory[0], float) and isinstance(memory[1], float):
        text += f", {memory[0]:,.0f} MiB against {memory[1]:,.0f}"
    return Finding(subject or row["case"], "info", text, values)


CHECK = Check("speed", "rotations and training steps, against rotary and no encoding", _run)
