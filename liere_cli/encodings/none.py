"""No position at all: the floor that every other encoding must clear."""

from liere_cli.encodings.base import EncodingOptions, PositionEncoding


class NoPosition(PositionEncoding):
    """Nothing is added (NoPE, arXiv 2305.19466).

    A causal language model can still infer order from its mask; a bidirectional model becomes a
    bag of patches.
    """

    name = "none"
    summary = "no position information"
    source = "arXiv 2305.19466"
    family = "none"
    formula = "q . k"
    relative = True
    orthogonal = True
    Options = EncodingOptions
