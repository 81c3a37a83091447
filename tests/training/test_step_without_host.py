"""A training step of any encoding on a GPU: nothing waits for the device between log lines."""

from typing import Any

import pytest
import torch

from liere_cli.config.files import load_recipe
from liere_cli.encodings import available
from liere_cli.runs.build import RunSpec, assemble, build_model
from liere_cli.training.step import TrainingStep, build_optimizer
from liere_cli.utils.distributed import ALONE
from support.host_reads import META, HostMethods, HostReads, without_values

DATA = {
    1: "stdlib:grid=16",
    2: "pointing:train=20,val=20,test=20",
    3: "motion:train=20,val=20,test=20",
}
#: operations that raise or are nondeterministic on CUDA under deterministic algorithms, from the
#: documentation of torch.use_deterministic_algorithms
NONDETERMINISTIC = {
    "_adaptive_avg_pool2d_backward", "adaptive_max_pool2d_backward", "avg_pool3d_backward",
    "bincount", "cumsum", "fractional_max_pool2d_backward", "grid_sampler_2d_backward", "histc",
    "kthvalue", "max_pool3d_with_indices_backward", "max_unpool2d", "median", "nanmedian",
    "nll_loss2d_forward", "put_", "reflection_pad1d_backward", "replication_pad2d_backward",
    "resize_", "scatter_reduce", "_ctc_loss", "_embedding_bag", "upsample_bilinear2d_backward",
    "_cdist_forward", "_cdist_backward",
}  # fmt: skip
SERVED = {name: [axes for axes in DATA if cls.serves(axes)] for name, cls in available().items()}
CASES = [
    pytest.param(name, axes, options, id=f"{name}{options}-{axes}")
    for name, served in SERVED.items()
    for axes in sorted({served[0], served[-1]})
    for options in ([""] if name != "liere" else [":block=2", ":block=4", "", ":share=layers"])
]


def spec_of(encoding: str, axes: int, **training: Any) -> RunSpec:
    flags = {
        "encoding": encoding,
        "data": DATA[axes],
        "model": {"layers": 2, "dim": 32, "heads": 2, "dropout": 0.1},
        "training": {"batch": 4, "positions": {"jitter": 1.0}, **training},
    }
    return assemble(load_recipe(flags=flags), device=torch.device("cpu"))


@pytest.mark.parametrize(("name", "axes", "options"), CASES)
def test_no_step_waits_for_the_device(name: str, axes: int, options: str) -> None:
    run_spec = spec_of(name + options, axes)
    with without_values():
        model = build_model(run_spec).to(META)
        optimizer = build_optimizer(model, run_spec.recipe.training)
        examples = run_spec.dataset.load("train").to(META)
        step = TrainingStep(run_spec, model, optimizer, examples, META, ALONE)
        step(0, 0.0)  # fills caches
        operations, methods = HostReads(), HostMethods()
        with operations, methods:
            loss = step(1, 0.1)
    assert loss.device == META
    assert not operations.waits
    assert not methods.waits
    assert not operations.names & NONDETERMINISTIC
    assert len(operations.names) > 10


@pytest.mark.parametrize(
    "read",
    [
        lambda x: x.item(),
        lambda x: bool(x.sum() > 0),
        lambda x: x.cpu(),
        lambda x: x.nonzero(),
        lambda x: x[x > 0],
        lambda x: x.tolist(),
        lambda x: float(x.sum()),
        lambda x: torch.tensor([1.0], device=x.device),
        lambda x: x + torch.ones(3).to(x.device),
    ],
)
def test_a_read_is_noticed(read: Any) -> None:
    operations, methods = HostReads(), HostMethods()
    x = torch.ones(3, device=META)
    failed = False
    with operations, methods:
        try:
            read(x)
        except (RuntimeError, NotImplementedError):
            failed = True  # without values there is nothing to read
    assert failed or operations.waits or methods.waits
