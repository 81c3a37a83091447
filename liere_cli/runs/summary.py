"""The closing summary of a run, as ``summary.json`` holds it."""

import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from types import UnionType
from typing import Any, Self, get_args, get_origin, get_type_hints

from liere_cli.errors import shortened
from liere_cli.runs.identity import ID_DIGITS
from liere_cli.utils.files import seal

#: of summary.json; summaries of format 1 have no digests
FORMAT = 2
#: what to do about a summary that can't be used
AGAIN = "delete it to train again"
#: larger than any score, time or throughput; its square is still finite
LARGEST = 1e100


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """The results of a run that has ended.

    Numbers that are not finite, or larger than :data:`LARGEST`, become None.

    Args:
        status: ``finished`` or ``diverged``.
        encoding, data: short labels.
        metric: ``bits_per_byte``, ``bits_per_token`` or ``top1``.
        val, test: the metric on each split after the last step; None where it was not measured.
        val_loss, test_loss: mean cross-entropy in nats.
        best: step and value of the best validation.
        seconds: spent in training steps, without validation.
        evaluation_seconds: spent in validations and closing evaluations.
        throughput: examples or tokens per second of training, as ``throughput_unit`` says.
        flops_per_token: operations of a forward pass, where they were counted.
        tested: how much of the test split ``test`` is measured on: ``all``, a count or ``none``.
        error: why the run diverged.
        files: SHA-256 of the run's other files, by name.
        sha256: of the rest of the record.
        extra: keys that this version of liere does not know.
    """

    status: str
    id: str
    encoding: str
    data: str
    fingerprint: str
    seed: int
    metric: str
    higher_is_better: bool | None = None
    val: float | None
    test: float | None
    val_loss: float | None = None
    test_loss: float | None = None
    best: dict[str, float | None] = field(default_factory=dict)
    steps: int
    examples: int = 0
    tokens: int = 0
    seconds: float | None
    parameters: int
    encoding_parameters: int
    throughput: float | None
    throughput_unit: str
    flops_per_token: float | None = None
    budget: str = ""
    device: str | None = None
    threads: int | None = None
    tested: str | None = None
    evaluation_seconds: float | None = None
    error: str | None
    signature: str = ""
    format: int = 1
    files: dict[str, str] = field(default_factory=dict)
    sha256: str | None = None
    extra: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in _FLOATS:
            value = getattr(self, name)
            if value is not None and not (type(value) is float and -LARGEST < value < LARGEST):
                usable = abs(value) < LARGEST  # false for NaN
                object.__setattr__(self, name, float(value) if usable else None)

    @classmethod
    def from_record(cls, record: object) -> Self:
        """The summary in a JSON record, its digest not verified; ValueError names a wrong key."""
        if not isinstance(record, dict):
            raise ValueError(f"is not a run summary; {AGAIN}")
        if missing := sorted(_REQUIRED - record.keys()):
            raise ValueError(f"is not a complete run summary (it lacks '{missing[0]}'); {AGAIN}")
        fields_given: dict[str, Any] = {}
        extra: dict[str, object] = {}
        for name, value in record.items():
            types = _TYPES.get(name)
            if types is None:
                extra[name] = value
            elif type(value) in types:
                fields_given[name] = value
            else:
                raise ValueError(
                    f"is not a valid run summary ('{name}' is {shortened(value)}); {AGAIN}"
                )
        return cls(**fields_given, extra=extra)

    def to_record(self) -> dict[str, Any]:
        """The summary as a JSON record, in the order of ``summary.json``."""
        record = {name: getattr(self, name) for name in _TYPES}
        for name, absent in _LATER.items():
            if record[name] == absent:
                del record[name]
        return record | dict(self.extra)


def _types(hint: object) -> set[type]:
    """The types that JSON has for a field: a whole number may stand for a float."""
    parts = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    types = {get_origin(part) or part for part in parts}
    return types | {int} if float in types else types


#: types of each field's values in JSON
_TYPES = {
    name: _types(hint) for name, hint in get_type_hints(RunSummary).items() if name != "extra"
}
_FLOATS = [name for name, types in _TYPES.items() if float in types]
_REQUIRED = {
    field_.name
    for field_ in fields(RunSummary)
    if field_.default is MISSING and field_.default_factory is MISSING
}
#: what joined the record after its first version, and the value that means its absence
_LATER: dict[str, object] = {
    "tested": None,
    "evaluation_seconds": None,
    "format": 1,
    "files": {},
    "sha256": None,
    "flops_per_token": None,
}


def verified(record: object, run_id: str) -> RunSummary:
    """The summary in a JSON record; raises ValueError unless it is intact and that run's."""
    if isinstance(record, dict):
        version = record.get("format", 1)
        if isinstance(version, int) and version > FORMAT:
            raise ValueError(
                f"was written by a later version of liere (format {version}); read it with that one"
            )
        sealed = "sha256" in record or version != 1
        if sealed and record.get("sha256") != seal(record, "sha256"):
            raise ValueError(
                f"was damaged or changed after it was written (its digest differs); {AGAIN}"
            )
    summary = RunSummary.from_record(record)
    # a folder that was renamed has no identity to compare with
    named = len(run_id) == ID_DIGITS and re.fullmatch("[0-9a-f]+", run_id)
    if named and summary.id != run_id:
        raise ValueError(f"is the summary of another run ({shortened(summary.id)}); {AGAIN}")
    return summary
