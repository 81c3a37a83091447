"""Full training steps of each encoding, against rotary in the same run.

A step is a forward and a backward pass, gradient clipping and AdamW on random data, with training's
precision, determinism, CUDA graphs and, if requested, ``torch.compile``.
"""

import math
import multiprocessing
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from liere_cli.bench.timing import Row, alternate
from liere_cli.config.recipe import SIZES
from liere_cli.encodings import available
from liere_cli.encodings.registry import Spec
from liere_cli.errors import UsageError
from liere_cli.model import ModelShape, Transformer
from liere_cli.utils.determinism import deterministic
from liere_cli.utils.devices import has_bfloat16
from liere_cli.utils.execution import WARMUP_STEPS, choose_execution
from liere_cli.utils.malloc import keep_freed_memory

MEBI = 1 << 20


@dataclass(frozen=True)
class StepShape:
    """A preset of model sizes, tokens along each axis, and examples per step; one axis is a
    language model, more are a classifier with patches of 4 pixels along each axis.
    """

    size: str
    tokens: tuple[int, ...]
    batch: int

    @property
    def reference(self) -> str:
        return "rope" if len(self.tokens) == 1 else "rope-mixed"

    def model(self) -> ModelShape:
        dim, layers, heads = SIZES[self.size]
        text = len(self.tokens) == 1
        patch = 1 if text else 4
        return ModelShape(
            layers=layers,
            dim=dim,
            heads=heads,
            mlp_ratio=4.0,
            dropout=0.0,
            pooling="mean",
            causal=text,
            grid=tuple(patch * count for count in self.tokens),
            patch=(patch,) * len(self.tokens),
            channels=3,
            classes=256 if text else 100,
        )


@dataclass(frozen=True)
class Case:
    """An encoding against the reference encoding of its shape."""

    name: str
    shape: StepShape
    encoding: str


_NANO_SHORT = StepShape("nano", (256,), 16)
_NANO_LONG = StepShape("nano", (4096,), 1)
_VIT = StepShape("tiny", (8, 8), 64)
CASES = (
    Case("lm-nano-256/liere", _NANO_SHORT, "liere:block=32"),
    Case("lm-nano-4096/liere", _NANO_LONG, "liere:block=32"),
    Case("vit-tiny/liere-8", _VIT, "liere:block=8"),
    Case("vit-tiny/liere-64-shared", _VIT, "liere:block=64,share=layers"),
    Case("vit-tiny/liere-64", _VIT, "liere:block=64"),
)
_BASE = StepShape("base", (8, 8), 512)
_BASE_LARGE = StepShape("base", (14, 14), 128)
_VIDEO = StepShape("base", (8, 14, 14), 16)
_LANGUAGE = StepShape("base", (1024,), 16)
#: models of the LieRE paper (arXiv 2406.10322), for GPUs
PAPER_CASES = tuple(
    Case(f"{name}/{label}", shape, encoding)
    for name, shape in {
        "vit-base-64": _BASE,
        "vit-base-196": _BASE_LARGE,
        "video-base-8x14x14": _VIDEO,
        "lm-base-1024": _LANGUAGE,
    }.items()
    for label, encoding in {
        "liere-8": "liere:block=8",
        "liere-64-shared": "liere:block=64,share=layers",
        "liere-64": "liere:block=64",
    }.items()
)


def parse_shape(text: str) -> StepShape:
    """A shape from ``tiny,8x8,64``: size, tokens along each axis, batch; UsageError otherwise."""
    parts = text.split(",")
    try:
        size, tokens, batch = parts
        shape = StepShape(size, tuple(int(part) for part in tokens.split("x")), int(batch))
    except ValueError:
        expected = "SIZE,TOKENS,BATCH such as tiny,8x8,64 or nano,256,16"
        raise UsageError(f"--shape {text}: expected {expected}") from None
    if size not in SIZES or min(shape.tokens) < 1 or shape.batch < 1:
        allowed = f"the size is one of {', '.join(SIZES)}, tokens and batch at least 1"
        raise UsageError(f"--shape {text}: {allowed}")
    return shape


def cases_for(shape: StepShape) -> list[Case]:
    """One benchmark for every encoding that is defined for the shape, except its reference."""
    axes, prefix = len(shape.tokens), f"{shape.size}-{'x'.join(map(str, shape.tokens))}"
    names = [name for name, cls in available().items() if cls.serves(axes)]
    return [Case(f"{prefix}/{name}", shape, name) for name in names if name != shape.reference]


def step_rows(
    cases: Iterable[Case],
    *,
    device: torch.device,
    repeats: int = 7,
    compiled: bool = False,
    controls: bool = False,
    on_progress: Callable[[str], None] = lambda name: None,
) -> list[Row]:
    """Times every case, alternating with its reference.

    Args:
        repeats: timed steps of each, after one to warm up, or on a GPU and compiled as many as in
            training.
        compiled: whether the models are compiled.
        controls: also against no encoding, as a second row of each case.
        on_progress: called with the name of each case before it is timed.

    Returns:
        A row for each case; ``memory_mib`` and ``reference_memory_mib`` are the peak memory of a
        separate process (on a GPU, of the device).
    """
    rows = []
    slow_start = compiled or device.type == "cuda"
    with deterministic(device, compiled):
        for case in cases:
            on_progress(case.name)
            memory = peak_memory_mib(case.shape, case.encoding, device, compiled)
            for reference in (case.shape.reference, *(["none"] if controls else [])):
                row = alternate(
                    case.name,
                    training_step(case.shape, case.encoding, device, compiled),
                    reference,
                    training_step(case.shape, reference, device, compiled),
                    device=device,
                    repeats=repeats,
                    warmup=WARMUP_STEPS if slow_start else 1,
                )
                row["memory_mib"] = memory
                row["reference_memory_mib"] = peak_memory_mib(
                    case.shape, reference, device, compiled
                )
                rows.append(row)
    return rows


def training_step(
    shape: StepShape, encoding: Spec, device: torch.device, compiled: bool = False
) -> Callable[[], None]:
    """A function that runs one training step on fixed random data, executed as in training."""
    keep_freed_memory()
    torch.manual_seed(0)
    model = Transformer(shape.model(), encoding)
    model.initialise(0)
    model.to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    inputs, targets = _data(shape, device)
    half = has_bfloat16(device)
    flops = shape.model().step_flops(shape.batch)
    execution = choose_execution(
        model, device, lambda: (inputs, None), flops=flops, compiled=compiled, half=half
    )

    def step() -> None:
        if execution.graphed:
            torch.compiler.cudagraph_mark_step_begin()
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            logits = execution.forward(inputs, None)
        loss = F.cross_entropy(logits.float().flatten(0, -2), targets.flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def _data(shape: StepShape, device: torch.device) -> tuple[Tensor, Tensor]:
    model = shape.model()
    if model.causal:
        inputs, targets = (torch.randint(256, (shape.batch, *shape.tokens)) for _ in range(2))
    else:
        inputs = torch.randn(shape.batch, model.channels, *model.grid)
        targets = torch.randint(model.classes, (shape.batch,))
    return inputs.to(device), targets.to(device)


def peak_memory_mib(
    shape: StepShape, encoding: str, device: torch.device, compiled: bool = False
) -> float:
    """Peak memory of two training steps, in MiB, measured in a separate process."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        threads = torch.get_num_threads()
        return pool.apply(_measure_peak, (shape, encoding, device, compiled, threads))


def _measure_peak(
    shape: StepShape, encoding: str, device: torch.device, compiled: bool, threads: int
) -> float:
    torch.set_num_threads(threads)
    with deterministic(device, compiled):
        step = training_step(shape, encoding, device, compiled)
        step()
        step()
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / MEBI
    # not ru_maxrss, which a new process inherits from its parent
    match = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(match[1]) / 1024 if match else math.nan
