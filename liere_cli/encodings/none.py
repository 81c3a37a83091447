"""No position encoding: the baseline of all others."""

from liere_cli.encodings.base import EncodingOptions, PositionEncoding


class NoPosition(PositionEncoding):
    """Nothing is added (NoPE, arXiv 2305.19466).

    A causal language model can still infer order from its mask; a bidirectional model treats its
    tokens as a set.
    """

    name = "none"
    summary = "no position information"
    source = "arXiv 2305.19466"
    family = "none"
    formula = "q . k"
    relative = True
    orthogonal = True
    Options = EncodingOptions
