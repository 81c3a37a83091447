"""Rotations keep norms, at positions far beyond the training grid."""

from collections.abc import Iterator

import torch

from liere_cli.checks.base import Check, Finding, Setting, worst
from liere_cli.conformance.cases import GRIDS, cases, queries_and_keys
from liere_cli.utils.determinism import deterministic

ALLOWED = 1e-4


def _run(setting: Setting) -> Iterator[Finding]:
    errors: dict[str, float] = {}
    with deterministic(setting.device), torch.no_grad():
        for case in cases(kind="whole"):
            encoding = case.build().to(setting.device)
            if not encoding.orthogonal:
                continue
            grid = tuple(4 * extent for extent in GRIDS[case.axes])
            positions = encoding.positions(grid, GRIDS[case.axes], setting.device)
            q, _ = (x.to(setting.device) for x in queries_and_keys(len(positions)))
            encoded = encoding.encode_q(q, encoding.prepare(positions), 1)
            change = encoded.double().norm(dim=-1) / q.double().norm(dim=-1) - 1
            errors[case.id] = float(change.abs().max())
    yield worst("norms of queries", errors, ALLOWED, "relative change")


CHECK = Check("orthogonality", "rotations keep norms", _run)
