"""Options that all or several rotary encodings have, each against its formula in float64."""

import math

import pytest
import torch
from torch import Tensor

from liere_cli.conformance import test_in_a_model as in_a_model
from liere_cli.conformance.cases import Case
from liere_cli.encodings import PositionEncoding, build_encoding
from liere_cli.encodings.rotary.base import split_planes
from liere_cli.encodings.rotary.nd_rope import simplex
from liere_cli.errors import UsageError
from support.slow_rotary import SHAPES, built, positions_of, random_qk, turned

EVERY_AXES = pytest.mark.parametrize("axes", list(SHAPES))


def check(encoding: PositionEncoding, angle, layout: str = "interleaved") -> None:  # type: ignore[no-untyped-def]
    """Queries and keys in layer 1 are rotated by these angles."""
    q, k = random_qk(encoding)
    positions = positions_of(encoding)
    for ours, x in zip(encoding(q, k, positions, layer=1), (q, k), strict=True):
        expected = turned(x, positions, layout, angle)
        torch.testing.assert_close(ours, expected, rtol=0, atol=5e-6)


@pytest.mark.parametrize(
    ("share", "shape"),
    [("null", (1, 1)), ("all", (1, 1)), ("layers", (1, 2)), ("heads", (2, 1)), ("none", (2, 2))],
)
def test_lerope_scales_the_frequencies_in_log_space(share: str, shape: tuple[int, int]) -> None:
    encoding = built(f"rope:learned=scale,share={share}", 1)
    (scales,) = (p.detach() for p in encoding.parameters())
    assert scales.shape == (*shape, 1, 8)
    layer = 1 % shape[0]

    def angle(n: int, i: int, p: list[float]) -> float:
        return p[0] * math.exp(float(scales[layer, n % shape[1], 0, i])) * 1e4 ** (-i / 8)

    check(encoding, angle)


@EVERY_AXES
@pytest.mark.parametrize("share", ["layers", "heads", "all"])
def test_shared_frequencies_are_learned_as_one_set(axes: int, share: str) -> None:
    encoding = built(f"axial:learned=true,share={share}", axes)
    frequencies = encoding.frequencies.detach()
    assert frequencies.shape == (
        1 if share in ("layers", "all") else 2,
        1 if share in ("heads", "all") else 2,
        axes,
        8,
    )

    def angle(n: int, i: int, p: list[float]) -> float:
        at = frequencies[1 % len(frequencies), n % frequencies.shape[1]]
        return sum(p[a] * float(at[a, i]) for a in range(axes))

    check(encoding, angle)


@pytest.mark.parametrize("spec", ["rope", "axial"])
@pytest.mark.parametrize("share", ["none", "layers", "heads", "all"])
def test_learned_scales_start_as_the_fixed_frequencies(spec: str, share: str) -> None:
    q, k = torch.randn(2, 1, 2, 6, 16)
    results = []
    for chosen in (spec, f"{spec}:learned=scale,share={share}", f"{spec}:learned=true"):
        encoding = build_encoding(chosen, axes=1, heads=2, head_dim=16, depth=2, grid=(6,))
        results.append(encoding(q, k, encoding.positions((6,)), layer=1))
    torch.testing.assert_close(results[1], results[0], rtol=0, atol=0)
    torch.testing.assert_close(results[2], results[0], rtol=0, atol=0)


PARTIAL = [
    *(("axial:learned=scale", axes) for axes in (2, 3)),
    *((spec, axes) for spec in ("rope-mixed", "golden-gate", "nd-rope") for axes in (1, 2, 3)),
    *((spec, axes) for spec in ("axial", "dinov3", "spiral") for axes in (2, 3)),
    *((spec, axes) for spec in ("cayley-string", "circulant-string", "harope") for axes in (1, 2)),
    *((spec, 1) for spec in ("rope", "grape", "xpos", "fope:length=64", "lrpe:form=rotate")),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "axes"), PARTIAL)
def test_a_part_of_the_planes_rotates_and_the_rest_does_not(spec: str, axes: int) -> None:
    """The rotation of every head has as many fixed directions as channels that do not rotate."""
    separator = "," if ":" in spec else ":"
    encoding = built(f"{spec}{separator}part=0.5", axes, head_dim=24)
    identity = torch.eye(24, dtype=torch.float64).expand(1, 2, 24, 24)
    point = torch.full((1, axes), 0.37, dtype=torch.float64)
    state = encoding.prepare(point.expand(24, axes))
    rotated = encoding.encode_q(identity, state, 1)[0]
    for matrix in rotated - identity[0]:
        # a half of 24 channels, or less where planes are left over; bases are float32
        moving = int(torch.linalg.matrix_rank(matrix.detach(), atol=1e-5))
        assert (0 if spec.startswith("fope") else 12 - 2 * axes) < moving <= 12


@EVERY_AXES
def test_partial_axial_has_the_frequencies_of_a_smaller_head(axes: int) -> None:
    encoding = built("axial:part=0.5,theta=50", axes)

    def angle(n: int, i: int, p: list[float]) -> float:
        shares = split_planes(4, axes)
        for axis, share in enumerate(shares):
            if i < share:
                return p[axis] * 50.0 ** (-i / share)
            i -= share
        return 0.0

    check(encoding, angle)


@EVERY_AXES
def test_mrope_interleave_spreads_one_spectrum_over_the_axes(axes: int) -> None:
    encoding = built("axial:preset=mrope-interleave", axes)
    check(encoding, lambda n, i, p: p[i % axes] * 1e4 ** (-i / 8))
    chunks = built("axial:spectrum=head,theta=10000", axes)
    owner = [a for a, share in enumerate(split_planes(8, axes)) for _ in range(share)]
    check(chunks, lambda n, i, p: p[owner[i]] * 1e4 ** (-i / 8))


@EVERY_AXES
def test_mhrope_has_one_axis_for_each_head(axes: int) -> None:
    encoding = built("axial:preset=mhrope", axes, heads=4)
    owner = [a for a, share in enumerate(split_planes(4, axes)) for _ in range(share)]
    check(encoding, lambda n, i, p: p[owner[n]] * 1e4 ** (-i / 8))
    with pytest.raises(UsageError, match="needs a head for each of 3 axes, not 2"):
        built("axial:divide=heads", 3)
    with pytest.raises(UsageError, match="leave order=interleaved"):
        built("axial:divide=heads,order=interleaved", axes, heads=3)


@EVERY_AXES
@pytest.mark.parametrize("head_dim", [16, 32])
def test_nd_rope(axes: int, head_dim: int) -> None:
    encoding = built("nd-rope:theta=50", axes, head_dim)
    corners = simplex(axes).double()
    count = len(corners)
    scales = head_dim // 2 // count
    frequencies = encoding.frequencies[1]  # type: ignore[index]
    for head in range(2):
        slow = frequencies[head].view(axes, count, scales).double()
        # every scale is the simplex, turned alike, without reflection
        gram = slow.permute(2, 1, 0) @ slow.permute(2, 0, 1)
        size = 50.0 ** (-2 * torch.arange(scales, dtype=torch.float64) / scales)
        expected = (corners @ corners.T) * size[:, None, None]
        torch.testing.assert_close(gram, expected, rtol=0, atol=1e-6)
        turn = torch.linalg.lstsq(corners, slow[..., 0].T).solution
        assert float(torch.linalg.det(turn)) == pytest.approx(1, abs=1e-5)

    def angle(n: int, i: int, p: list[float]) -> float:
        if i >= scales * count:
            return 0.0
        return sum(p[a] * float(frequencies[n, a, i]) for a in range(axes))

    check(encoding, angle)


@pytest.mark.parametrize("axes", [2, 3, 4])
def test_corners_of_a_simplex_balance(axes: int) -> None:
    corners = simplex(axes).double()
    torch.testing.assert_close(corners.sum(0), torch.zeros(axes).double(), rtol=0, atol=1e-6)
    expected = (axes + 1) / axes * torch.eye(axes, dtype=torch.float64)
    torch.testing.assert_close(corners.T @ corners, expected, rtol=0, atol=1e-6)


def test_nd_rope_of_one_axis_is_rope() -> None:
    q, k = torch.randn(2, 1, 2, 6, 16)
    results = []
    for spec in ("nd-rope", "rope:theta=100"):
        encoding = build_encoding(spec, axes=1, heads=2, head_dim=16, depth=2, grid=(6,))
        results.append(encoding(q, k, encoding.positions((6,)), layer=1))
    torch.testing.assert_close(*results, rtol=0, atol=0)


VALUES = [
    ("rope:values=true", 1),
    ("rope:values=true,learned=true,part=0.5", 1),
    ("grape:values=true", 1),
    *((spec, axes) for spec in ("axial", "rope-mixed", "nd-rope") for axes in (1, 2)),
    ("golden-gate:values=true", 2),
    *(("liere:values=true", axes) for axes in (1, 2, 3)),
    ("liere:values=true,block=2", 2),
    ("liere:values=true,block=16", 2),
    ("liere:values=true,share=layers", 1),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "axes"), VALUES)
@pytest.mark.parametrize("prefix", [0, 2])
def test_rotated_values_are_moved_to_the_position_of_the_query(
    spec: str, axes: int, prefix: int
) -> None:
    """The output at i is sum_j a_ij R(p_i)^T R(p_j) v_j (RoVE, arXiv 2606.11275, section 1), with
    the R of queries and keys; R is the identity for the prefix.
    """
    encoding = built(spec if ":" in spec else f"{spec}:values=true", axes)
    assert "values" in encoding.places
    values, _ = random_qk(encoding, prefix)
    state = encoding.prepare(positions_of(encoding).double())
    tokens, channels = values.shape[2:]
    weights = torch.randn(3, 2, tokens, tokens, dtype=torch.float64).softmax(-1)
    encoded = encoding.encode_v(values, state, 1, prefix_tokens=prefix)
    ours = encoding.decode_v(weights @ encoded, state, 1, prefix_tokens=prefix)
    # the matrix of every token, from the encoding of unit vectors
    units = torch.eye(channels, dtype=torch.float64)[:, None, None].expand(-1, 2, tokens, -1)
    columns = encoding.encode_q(units, state, 1, prefix_tokens=prefix)  # [H, N, S, H]
    matrices = columns.permute(1, 2, 3, 0)  # [N, S, H, H]
    moved = torch.einsum("njab,xnjb->xnja", matrices, values)
    expected = torch.einsum("niba,xnib->xnia", matrices, weights @ moved)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-8)


def attended(encoding: PositionEncoding, values: Tensor, weights: Tensor, shift: float) -> Tensor:
    state = encoding.prepare(positions_of(encoding).double() + shift)
    return encoding.decode_v(weights @ encoding.encode_v(values, state, 1), state, 1)


def test_outputs_depend_on_differences_of_positions_where_the_encoding_is_relative() -> None:
    for spec, axes, relative in (
        ("axial:values=true", 2, True),
        ("liere:values=true", 1, True),
        ("liere:values=true", 2, False),
    ):
        encoding = built(spec, axes)
        values, _ = random_qk(encoding)
        weights = torch.randn(values.shape[2], values.shape[2], dtype=torch.float64).softmax(-1)
        change = attended(encoding, values, weights, 0) - attended(encoding, values, weights, 0.7)
        assert (float(change.detach().abs().max()) < 1e-9) == relative, spec
        assert encoding.relative == relative


@pytest.mark.parametrize(
    "case",
    [Case(f"{name}:values=true", axes) for name, axes in (("rope", 1), ("axial", 2))]
    + [Case("liere:values=true", axes) for axes in (1, 2)],
    ids=lambda case: case.id,
)
def test_a_model_with_rotated_values(case: Case) -> None:
    """Position reaches the values, and nothing leaks from padding or the future."""
    plain = Case(case.spec.partition(":")[0], case.axes)
    model, without = in_a_model.model_of(case), in_a_model.model_of(plain)
    inputs = in_a_model.inputs_of(model)
    assert not torch.allclose(model(inputs), without(inputs), atol=1e-3)
    in_a_model.test_the_loss_falls_in_training(case)
    in_a_model.test_a_cache_changes_no_logit(case)
    in_a_model.test_a_language_model_does_not_see_the_future(case)
    for pooling in ("cls", "mean"):
        in_a_model.test_padding_changes_nothing(case, pooling)


@pytest.mark.parametrize(
    ("spec", "axes", "message"),
    [
        ("rope:learned=yes", 1, "'learned' is 'yes', but must be true, false or scale"),
        ("axial:share=all", 2, "nothing to share: share=all needs learned=true or learned=scale"),
        ("rope-mixed:part=0", 2, "'part' is 0, but must be above 0"),
        ("nd-rope:part=0.2", 3, "needs a plane for each of 4 directions, and 3 rotate"),
        ("xpos:values=true", 1, "unknown key 'values'"),
    ],
)
def test_refuses(spec: str, axes: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        built(spec, axes)
