"""Half precision, within the errors in docs/add-your-encoding.md."""

import pytest
import torch

from liere_cli.conformance.cases import Case, logits, relative_error

#: allowed relative root mean square error of the logits; the largest of the built-in encodings are
#: 0.007 and 0.0009, mostly from rounding queries and keys themselves
ALLOWED = {torch.bfloat16: 0.015, torch.float16: 0.002}
#: a shift in tokens at which positions in half precision would be wrong by whole tokens
FAR = 1000


@pytest.mark.parametrize("dtype", list(ALLOWED), ids=["bfloat16", "float16"])
@pytest.mark.parametrize("autocast", [False, True], ids=["cast", "autocast"])
def test_half_precision(case: Case, dtype: torch.dtype, autocast: bool) -> None:
    encoding = case.build()
    positions = case.positions(encoding, FAR)
    exact = logits(encoding, positions, 1)
    with torch.autocast("cpu", dtype, enabled=autocast):
        rounded = logits(encoding, positions, 1, dtype)
    error = relative_error(rounded, exact)
    assert error < ALLOWED[dtype], (
        f"logits in {dtype} are wrong by {error:.1%}, allowed {ALLOWED[dtype]:.1%}: build angles "
        "and biases in float32, inside torch.autocast(x.device.type, enabled=False), and round "
        "last"
    )
