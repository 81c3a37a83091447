"""A user's model in the place of liere's transformer.

Shapes: B batch, T tokens with a position, A axes.
"""

from functools import cache
from importlib.metadata import entry_points
from typing import Any

import torch
from torch import Tensor, nn

from liere_cli.config.names import MODEL_ENTRY_POINT_GROUP
from liere_cli.config.recipe import DEFAULT_MODEL
from liere_cli.encodings.registry import Spec
from liere_cli.errors import LiereError, UsageError, unknown
from liere_cli.key_value_cache import KeyValueCache
from liere_cli.model import ModelShape, Transformer, encoding_for
from liere_cli.positions.cache import PositionCache, StateCache
from liere_cli.utils.seeding import stream, stream_seed
from liere_cli.utils.user_code import error_summary, file_digest, load_from_file


def _is_model(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, nn.Module)


@cache
def model_class(name: str) -> type[nn.Module]:
    """The class of ``path/to/file.py:Class`` (which runs that file's code), or of an entry point of
    the group ``liere.models``.

    Raises:
        UsageError: no such file, class or name, or not a torch module.
        LiereError: the code of the file fails.
    """
    if ".py:" in name:
        value = load_from_file("model", name, _is_model)
    elif name.endswith(".py"):
        raise UsageError(f"model '{name}': add the class, as {name}:Class")
    else:
        points = {point.name: point for point in entry_points(group=MODEL_ENTRY_POINT_GROUP)}
        if name not in points:
            raise unknown("model", name, [DEFAULT_MODEL, *points])
        try:
            value = points[name].load()
        except ImportError as error:
            raise LiereError(f"model '{name}' can't be imported: {error}") from None
    if not _is_model(value):
        raise UsageError(f"model '{name}' is not a subclass of torch.nn.Module")
    return value  # type: ignore[return-value]


def model_digest(name: str) -> str | None:
    """Hex digest of the code of a user's model; None for liere's transformer."""
    return None if name == DEFAULT_MODEL else file_digest(model_class(name))


class UserModel(Transformer):
    """A user's model, with what liere needs to train and measure it.

    The class is called as ``cls(encoding, shape)``, with a PositionEncoding and a
    :class:`liere_cli.model.ModelShape`: classes, grid, patch, channels, and layers, dim and heads,
    which fit the encoding. Called with inputs as in ``Transformer.forward`` and positions [T, A],
    it returns logits [B, T, classes] (``shape.causal``) or [B, classes]. It keeps the encoding as
    an attribute of one of its modules. Its weights are drawn in its constructor, from torch's
    global generator, which the run's seed determines.

    Raises:
        UsageError: the class does not keep the encoding.
        LiereError: its code fails, or its logits have another shape.
    """

    def __init__(self, shape: ModelShape, encoding: Spec, name: str) -> None:
        nn.Module.__init__(self)
        self.name = name
        self.shape = shape
        self.token_grid = shape.tokens(shape.grid)
        self._positions = PositionCache()
        self.states = StateCache()
        #: modules of the user's that have the encoding, and their names for it
        self._users: list[tuple[nn.Module, str]] = []
        self.encoding = encoding_for(shape, encoding)
        self._construct(0)

    def _construct(self, seed: int) -> None:
        """Constructs the user's model anew; the encoding stays."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(seed, "init", "model"))
            try:
                self.inner = model_class(self.name)(self.encoding, self.shape)
            except LiereError:
                raise
            except Exception as error:
                reason = error_summary(error)
                raise LiereError(f"model '{self.name}' can't be built: {reason}") from error
        self._users = [
            (module, attribute)
            for module in self.inner.modules()
            for attribute, child in module.named_children()
            if child is self.encoding
        ]
        if not self._users:
            raise UsageError(
                f"model '{self.name}' does not keep its encoding: set self.encoding = encoding in "
                "the module that uses it"
            )
        for module, attribute in self._users:
            delattr(module, attribute)  # a submodule of this model, saved once
            object.__setattr__(module, attribute, self.encoding)

    def __setattr__(self, attribute: str, value: Any) -> None:
        super().__setattr__(attribute, value)
        if attribute == "encoding":  # also where it is replaced for longer inputs
            for module, own in self._users:
                object.__setattr__(module, own, value)

    def initialise(self, seed: int) -> None:
        self._construct(seed)
        self.encoding.initialise(lambda name: stream(seed, "init", "encoding", name))

    def forward(
        self,
        inputs: Tensor,
        positions: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        cache: KeyValueCache | None = None,
        documents: Tensor | None = None,
    ) -> Tensor:
        """As ``Transformer.forward``, without a mask, a cache and documents."""
        if mask is not None or cache is not None:
            raise UsageError(f"model '{self.name}' takes neither a mask nor a key-value cache")
        if documents is not None:
            raise UsageError(
                f"model '{self.name}' can't keep the data's documents apart: it gets tokens and "
                "positions alone"
            )
        shape = self.shape
        tokens = shape.tokens(tuple(inputs.shape[1:] if shape.causal else inputs.shape[2:]))
        if positions is None:
            positions = self.positions(tokens, inputs.device)
        logits: Tensor = self.inner(inputs, positions)
        expected = (len(inputs), *(tokens if shape.causal else ()), shape.classes)
        if tuple(logits.shape) != expected:
            raise LiereError(
                f"model '{self.name}' returns logits {list(logits.shape)}, not {list(expected)}"
            )
        return logits

    @torch.no_grad()
    def generate(
        self, prompt: Tensor, length: int, *, temperature: float, generator: torch.Generator
    ) -> Tensor:
        text, window = prompt, self.shape.grid[0]
        for _ in range(length):
            logits = self(text[None, -window:])[0, -1].float().cpu()
            byte = logits.argmax(-1, keepdim=True)
            if temperature > 0:
                probabilities = (logits / temperature).softmax(-1)
                byte = torch.multinomial(probabilities, 1, generator=generator)
            text = torch.cat([text, byte.to(text.device)])
        return text
