"""``torch.compile`` with Inductor: the values of eager execution."""

from collections.abc import Iterator

import torch
from torch import Tensor

from liere_cli.bench.step import StepShape
from liere_cli.checks.base import Check, Finding, Setting, worst
from liere_cli.conformance.cases import relative_error
from liere_cli.model import Transformer
from liere_cli.utils.determinism import deterministic

ALLOWED = 1e-3
ENCODINGS = ("none", "rope-mixed", "liere:block=8", "liere:block=64,share=layers")


def _run(setting: Setting) -> Iterator[Finding]:
    if not setting.on_gpu:
        yield Finding("Inductor", "skipped", "needs a GPU; tests compile every encoding on a CPU")
        return
    errors: dict[str, float] = {}
    for encoding in ENCODINGS:
        with deterministic(setting.device, compiled=True):
            torch.compiler.reset()
            eager = _computed(encoding, setting.device, False)
            errors[encoding] = relative_error(_computed(encoding, setting.device, True), eager)
    yield worst("Inductor", errors, ALLOWED, "error of logits and gradients")


def _computed(encoding: str, device: torch.device, compiled: bool) -> Tensor:
    """Logits and all gradients of a small classifier, in float32."""
    shape = StepShape("nano", (8, 8), 4).model()
    model = Transformer(shape, encoding)
    model.initialise(0)
    model.to(device)
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(4, shape.channels, *shape.grid, generator=generator).to(device)
    forward = torch.compile(model) if compiled else model
    logits = forward(inputs)
    logits.tanh().sum().backward()
    gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    return torch.cat([logits.detach().flatten(), *gradients]).cpu()


CHECK = Check("compile", "Inductor computes what eager execution does", _run)
