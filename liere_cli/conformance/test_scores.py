"""Scores of queries and keys, computed in all the ways that the contract provides."""

import torch

from liere_cli.conformance.cases import (
    BATCH,
    GRIDS,
    HEAD_DIM,
    TOKENS,
    Case,
    agree,
    attended,
    logits,
    queries_and_keys,
    random,
    relative_error,
    token_vectors,
)
from liere_cli.encodings import Grid
from liere_cli.encodings.base import PositionEncoding
from liere_cli.encodings.extension import extend, methods_for

#: shifts of all positions in tokens, the second longer than the range of any encoding
SHIFTS = (3, 700)
#: relative change of scores that counts as a dependence on absolute positions
CHANGED = 3e-4


def rotates(encoding: PositionEncoding) -> bool:
    """Whether it rotates queries and keys within head_dim channels."""
    return "encode_qk" in encoding.places and encoding.orthogonal and encoding.qk_width == 1


def test_queries_and_keys_can_be_encoded_separately(case: Case) -> None:
    encoding = case.build()
    positions = case.positions(encoding)
    q, k = queries_and_keys()
    whole = attended(encoding, q, k, positions, 1)
    for name, chosen_q, chosen_k in [
        ("all", list(range(TOKENS)), list(range(TOKENS))),
        ("some queries against all keys", [1, 7, 8, 11], list(range(TOKENS))),
        ("all queries against some keys", list(range(TOKENS)), [0, 4, 5]),
    ]:
        states = encoding.prepare(positions[chosen_q]), encoding.prepare(positions[chosen_k])
        encoded_q = encoding.encode_q(q[:, :, chosen_q], states[0], 1)
        scores = encoded_q @ encoding.encode_k(k[:, :, chosen_k], states[1], 1).mT
        bias = encoding.bias(*states, 1)
        if bias is not None:
            scores = scores + bias
        agree(
            scores,
            whole[:, :, chosen_q][..., chosen_k],
            f"encode_q and encode_k ({name}) must give the scores of encode_qk, and bias its "
            "values for all tokens: they may depend only on positions and parameters",
        )


def test_project_agrees_with_encode_qk(case: Case) -> None:
    encoding = case.build()
    positions = case.positions(encoding)
    x, weight = token_vectors(TOKENS + 1)
    state = encoding.prepare(positions)
    for tokens, prefix in ((x, 1), (x[:, 1:], 0)):
        q, k, v = encoding.split(tokens, weight)
        q, k = encoding.encode_qk(q, k, state, 1, prefix_tokens=prefix)
        folded = encoding.project(tokens, weight, state, 1, prefix_tokens=prefix)
        folded_q, folded_k, folded_v = folded
        agree(folded_q @ folded_k.mT, q @ k.mT, "project must give the scores of encode_qk")
        agree(folded_v, v, "project must not change the values of split")


def test_it_is_relative_exactly_where_it_says_so(case: Case) -> None:
    encoding = case.build()
    here = logits(encoding, case.positions(encoding), 1)
    moved = [logits(encoding, case.positions(encoding, shift), 1) for shift in SHIFTS]
    if encoding.relative:
        agree(
            moved[0],
            here,
            "it says relative = True, but scores change when all positions move together; set it "
            "to False, in __init__ where it depends on axes or options",
            tolerance=1e-3,
        )
        return
    change = max(relative_error(there, here) for there in moved)
    assert change > CHANGED, (
        "it says relative = False, but scores do not change when all positions move together; set "
        "it to True"
    )


def test_outputs_with_encoded_values_are_relative_where_it_says_so(case: Case) -> None:
    encoding = case.build()
    if "values" not in encoding.places or not encoding.relative:
        return
    _, values = queries_and_keys()
    weights = random(TOKENS, TOKENS, seed=3).softmax(-1)

    def outputs(shift: float) -> torch.Tensor:
        state = encoding.prepare(case.positions(encoding, shift))
        return encoding.decode_v(weights @ encoding.encode_v(values, state, 1), state, 1)

    advice = "outputs change when all positions move together: decode_v must undo encode_v"
    agree(outputs(SHIFTS[0]), outputs(0), advice, tolerance=1e-3)


def test_it_keeps_norms_where_it_says_so(case: Case) -> None:
    encoding = case.build()
    if not encoding.orthogonal:
        return
    q, k = queries_and_keys()
    state = encoding.prepare(case.positions(encoding))
    for x, encoded in zip((q, k), encoding.encode_qk(q, k, state, 1), strict=True):
        advice = "it says orthogonal = True, but changes the norms of queries or keys"
        agree(encoded.norm(dim=-1), x.norm(dim=-1), advice)


def test_rotations_that_are_relative_commute_and_others_do_not(case: Case) -> None:
    """R(p)^T R(q) = R(q - p) for all p, q makes R(p) R(q) = R(q) R(p)."""
    encoding = case.build()
    if not rotates(encoding):
        return
    generator = torch.Generator().manual_seed(2)
    here = case.positions(encoding)
    there = here[torch.randperm(TOKENS, generator=generator)]
    x = queries_and_keys()[0]
    orders = []
    for first, second in ((here, there), (there, here)):
        once = encoding.encode_q(x, encoding.prepare(first), 1)
        orders.append(encoding.encode_q(once, encoding.prepare(second), 1))
    if encoding.relative:
        advice = "it says relative and orthogonal, but its rotations do not commute"
        agree(orders[0], orders[1], advice, 1e-3)
    else:
        assert relative_error(orders[0], orders[1]) > CHANGED, (
            "rotations that commute are relative: set relative = True"
        )


def test_a_larger_grid_keeps_the_scores_of_the_training_grid(case: Case) -> None:
    encoding = case.build()
    trained = GRIDS[case.axes]
    larger = tuple(n + 2 for n in trained)
    positions = Grid(larger, trained).positions(encoding.scaling)
    scores = logits(encoding, positions, 1)
    assert bool(scores.isfinite().all()), "scores beyond the training grid must be finite"
    if encoding.scaling == "resized":
        return
    corner = torch.zeros(larger, dtype=torch.bool)
    corner[tuple(slice(n) for n in trained)] = True
    inside = corner.flatten()
    q, k = (random(BATCH, 2, len(positions), HEAD_DIM, seed=seed) for seed in (0, 1))
    large = attended(encoding, q, k, positions, 1)[:, :, inside][..., inside]
    small = attended(encoding, q[:, :, inside], k[:, :, inside], case.positions(encoding), 1)
    agree(large, small, "tokens of the training grid have other scores on a larger one")


def test_extending_it_changes_nothing_on_the_training_grid(plain: Case) -> None:
    encoding = plain.build()
    grid = Grid(GRIDS[plain.axes])
    for method in methods_for(encoding):
        extension = extend(encoding, method, grid)
        assert extension.encoding is encoding
        advice = f"{method} changes positions on the training grid"
        agree(extension.positions, grid.positions(encoding.scaling), advice)
