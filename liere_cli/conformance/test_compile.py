"""``torch.compile`` captures an encoding in one graph, forward and backward."""

import torch
from torch import Tensor

from liere_cli.conformance.cases import GRIDS, NUMBERS, Case, agree, scored, token_vectors


def test_it_compiles_into_one_graph(whole: Case) -> None:
    torch._dynamo.reset()
    encoding = whole.build()
    positions = whole.positions(encoding)
    # neither backend needs a C++ compiler; the slow trace of the backward pass is made only once
    most = max(axes for axes in GRIDS if whole.cls.serves(axes))
    once = whole.axes == most and whole.spec not in NUMBERS
    backend = "aot_eager" if once else "eager"
    # fullgraph raises on any break
    compiled = torch.compile(scored, backend=backend, fullgraph=True)
    learned = [parameter for parameter in encoding.parameters() if parameter.requires_grad]
    x, weight = token_vectors()
    results: list[list[Tensor]] = []
    for function in (compiled, scored):
        logits = function(encoding, x, weight, positions, 1)
        gradients = torch.autograd.grad(logits.tanh().sum(), learned) if learned else ()
        results.append([logits, *gradients])
    for actual, expected in zip(*results, strict=True):
        agree(actual, expected, "the compiled encoding computes other values", tolerance=1e-3)
