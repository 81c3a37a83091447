"""Every encoding on the device, against float64 on the CPU."""

from collections.abc import Iterator

import torch
from torch import Tensor

from liere_cli.checks.base import Check, Finding, Setting, worst
from liere_cli.conformance.cases import Case, cases, relative_error, scored, token_vectors
from liere_cli.utils.determinism import deterministic

#: relative errors, as root mean squares, of float32 scores and gradients
SCORES, GRADIENTS = 1e-5, 1e-3
#: in bfloat16, whose unit roundoff is 4e-3, of projections and products
HALF = 3e-2


def _run(setting: Setting) -> Iterator[Finding]:
    scores: dict[str, float] = {}
    gradients: dict[str, float] = {}
    half: dict[str, float] = {}
    with deterministic(setting.device):
        for case in cases(kind="whole"):
            expected, expected_gradients = _computed(case, torch.device("cpu"), torch.float64)
            actual, actual_gradients = _computed(case, setting.device, torch.float32)
            scores[case.id] = relative_error(actual, expected)
            if len(expected_gradients):
                gradients[case.id] = relative_error(actual_gradients, expected_gradients)
            narrow, _ = _computed(case, setting.device, torch.bfloat16)
            half[case.id] = relative_error(narrow, expected)
    yield worst("scores, float32", scores, SCORES, "error")
    yield worst("gradients, float32", gradients, GRADIENTS, "error")
    yield worst("scores, bfloat16", half, HALF, "error")


def _computed(case: Case, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Scores, and all gradients to the encoding's parameters in one tensor, on the CPU."""
    encoding = case.build()
    if dtype == torch.float64:
        encoding = encoding.double()
    positions = case.positions(encoding).to(device)
    encoding = encoding.to(device)
    x, weight = (value.to(device) for value in token_vectors(dtype=dtype))
    scores = scored(encoding, x, weight, positions, 1)
    learned = [parameter for parameter in encoding.parameters() if parameter.requires_grad]
    if not learned:
        return scores.cpu(), torch.zeros(0)
    found = torch.autograd.grad(scores.double().tanh().sum(), learned)
    return scores.detach().cpu(), torch.cat([gradient.flatten() for gradient in found]).cpu()


CHECK = Check("conformance", "every encoding against float64 on the CPU", _run)
