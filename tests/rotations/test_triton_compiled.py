"""Triton's kernels compiled for GPUs on a machine without one: registers and memory that they need.

Run without TRITON_INTERPRET.
"""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from liere_cli.rotations.exponential.scaling_squaring import POLYNOMIALS, RADIUS
from liere_cli.rotations.kernels.triton import blocks, exponential, planes, schur, support

pytestmark = [
    pytest.mark.triton,
    pytest.mark.skipif(not support.INSTALLED, reason="Triton is not installed"),
    pytest.mark.skipif(support.INTERPRETED, reason="TRITON_INTERPRET is 1"),
    pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION"),
]
#: bytes of stack and of shared memory: half of what a multiprocessor of any of them has
MAX_STACK, MAX_SHARED = {80: 200, 90: 0, 89: 200, 100: 200}, 100 * 1024
POLYNOMIAL = [*POLYNOMIALS[torch.float32], RADIUS[torch.float32]]


def of_blocks(rows: int, dtype: str) -> list[tuple[str, str, dict[str, Any], dict[str, Any]]]:
    rotations = torch.empty(2, 64 // rows, 3, rows, rows)
    wide = torch.float32 if dtype == "*fp32" else torch.bfloat16
    constants, warps = blocks.constants(rotations, 512, wide), blocks.warps(rotations)
    types = {"x_ptr": dtype, "out_ptr": dtype, "grad_ptr": dtype, "saved_ptr": dtype}
    backward = {**constants, "ADD": True}
    return [
        ("blocks", "rotate", {**constants, "INVERSE": True, **types}, {"num_warps": warps}),
        ("blocks", "rotate_backward", {**backward, **types}, {"num_warps": warps, "num_stages": 2}),
    ]


def cases() -> list[tuple[str, str, dict[str, Any], dict[str, Any]]]:
    """Module, function, constants and types that are not float32, and options."""
    found = []
    for rows in (8, 32, 64):
        constants = exponential.constants(rows, POLYNOMIAL)
        warps = [exponential.warps(constants["TILE"], backward) for backward in (False, True)]
        found.append(("exponential", "exponential", constants, {"num_warps": warps[0]}))
        options = {"num_warps": warps[1], "num_stages": 1}
        backward = {**constants, "ROTATIONS": True}
        found.append(("exponential", "exponential_backward", backward, options))
    for rows, dtype in ((8, "*bf16"), (64, "*bf16"), (64, "*fp32")):
        found += of_blocks(rows, dtype)
    given = planes.constants(64, 512, False)
    types = {"qkv_ptr": "*bf16", **{f"{x}_ptr": "*bf16" for x in ("q", "k", "v", "out", "saved")}}
    found.append(("planes", "rotate", {**given, **types}, {"num_warps": 2}))
    given = {**given, **types, "SUMS": True}
    found.append(("planes", "rotate_backward", given, {"num_warps": 4}))
    types = {"basis_ptr": "*fp64", "frequencies_ptr": "*fp64"}
    for rows in (8, 64):
        options = {"num_warps": schur.warps(rows)}
        found.append(("schur", "real_schur", {**schur.constants(rows), **types}, options))
    return found


def name_of(case: Any) -> str:
    module, function, given, _ = case
    types = {x for x in given.values() if isinstance(x, str) and x.startswith("*")}
    return "-".join((module, function, str(given.get("ROWS", "")), *sorted(types)))


@pytest.mark.parametrize("capability", [80, 90, 89, 100])
@pytest.mark.parametrize("case", cases(), ids=name_of)
def test_needs_few_registers_and_little_memory(
    case: tuple[str, str, dict[str, Any], dict[str, Any]], capability: int, tmp_path: Path
) -> None:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    module, function, given, options = case
    if capability in (89, 100) and given.get("ROWS", 8) != 8:
        pytest.skip("compiled for other sizes on two generations only")
    kernel = getattr(support.device_code(module), function)
    signature = {
        name: given.get(name, "*fp32" if name.endswith("_ptr") else "i32")
        for name in kernel.arg_names
    }
    constants = {name: x for name, x in given.items() if not name.endswith("_ptr")}
    signature |= dict.fromkeys(constants, "constexpr")
    compiled = triton.compile(
        ASTSource(fn=kernel, signature=signature, constexprs=constants),
        target=GPUTarget("cuda", capability, 32),
        options=options,
    )
    assert compiled.metadata.shared < MAX_SHARED
    file = tmp_path / "kernel.cubin"
    file.write_bytes(compiled.asm["cubin"])
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    usage = subprocess.run(
        [str(tool), "--dump-resource-usage", str(file)], capture_output=True, text=True, check=True
    ).stdout
    stack = max(map(int, re.findall(r"STACK:(\d+)", usage)))
    # the largest real Schur form spills 16 bytes on sm_90
    spilled = 16 if module == "schur" and given["ROWS"] == 64 else 0
    assert stack <= max(MAX_STACK[capability], spilled), usage
