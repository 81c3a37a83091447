"""Losses of a language model, by block of text or by document.

Shapes: B windows, P predicted tokens of each, V vocabulary.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from liere_cli.data import ByteStream
from liere_cli.data.batches import Part


def text_scores(text: ByteStream, part: Part, logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Results of each block, or of each document in a block.

    Where the bytes of tokens are known, a token without any, such as a separator of documents, is
    not scored: it is no part of the text.

    Args:
        part: the windows, whose last ``P`` tokens are predicted.
        logits, targets: float [B, P, V] and int64 [B, P].

    Returns:
        ``loss`` float32 in nats and ``weight`` int32 in bytes, or in tokens where their bytes are
        not known; with documents also ``group`` int64, the document's number in the split.
    """
    loss = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="none")
    loss = loss.view(targets.shape)
    if text.token_bytes is None:
        weight = torch.ones_like(targets)
    else:
        weight = text.token_bytes[targets]
        loss = loss.where(weight > 0, 0)
    if text.separator is None:
        scored = weight.sum(1) > 0
        scores = {"loss": loss.sum(1), "weight": weight.sum(1).int()}
        return {name: value[scored] for name, value in scores.items()}
    # a token belongs to the document of the token that predicts it
    inputs = part.items[:, None] + torch.arange(part.length - part.predicted, part.length)
    documents = torch.searchsorted(text.starts.cpu(), inputs, right=True).to(loss.device)
    rows = torch.arange(len(targets), device=loss.device)[:, None]
    keys = (rows * (len(text.starts) + 1) + documents).flatten()  # ascending
    segments, of_token = torch.unique_consecutive(keys, return_inverse=True)
    losses = torch.zeros(len(segments), device=loss.device).index_add(0, of_token, loss.flatten())
    weights = torch.zeros_like(segments).index_add(0, of_token, weight.flatten())
    scored = weights > 0
    group = segments % (len(text.starts) + 1)
    return {"loss": losses[scored], "weight": weights[scored].int(), "group": group[scored]}
