"""Every encoding by name: the built-in ones, installed ones, and classes in a user's file."""

import hashlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from liere_cli.config.spec import parse_spec
from liere_cli.encodings.additive.absolute import Absolute
from liere_cli.encodings.additive.fourier import Fourier
from liere_cli.encodings.additive.sinusoidal import Sinusoidal
from liere_cli.encodings.base import PositionEncoding, Shape
from liere_cli.encodings.bias.alibi import ALiBi
from liere_cli.encodings.bias.fire import FIRE
from liere_cli.encodings.bias.kerple import KERPLE
from liere_cli.encodings.bias.t5 import T5
from liere_cli.encodings.matrix.comrope import ComRoPEAP, ComRoPELD
from liere_cli.encodings.matrix.liere import LieRE
from liere_cli.encodings.matrix.spherical import Spherical
from liere_cli.encodings.none import NoPosition
from liere_cli.encodings.polar.lrpe import LRPE
from liere_cli.encodings.polar.pope import GoldenGatePoPE, PoPE
from liere_cli.encodings.presets import shortest
from liere_cli.encodings.rotary.axial import Axial
from liere_cli.encodings.rotary.cayley_string import CayleySTRING
from liere_cli.encodings.rotary.circulant_string import CirculantSTRING
from liere_cli.encodings.rotary.dinov3 import DINOv3
from liere_cli.encodings.rotary.fope import FoPE
from liere_cli.encodings.rotary.golden_gate import GoldenGate
from liere_cli.encodings.rotary.grape import GRAPE
from liere_cli.encodings.rotary.harope import HARoPE
from liere_cli.encodings.rotary.rope import RoPE
from liere_cli.encodings.rotary.rope_mixed import RoPEMixed
from liere_cli.encodings.rotary.spiral import Spiral
from liere_cli.encodings.rotary.xpos import XPos
from liere_cli.errors import LiereError, UsageError, shortened, unknown
from liere_cli.utils.seeding import stream

_BUILT_IN: tuple[type[PositionEncoding], ...] = (
    NoPosition,
    Absolute,
    Sinusoidal,
    Fourier,
    RoPE,
    Axial,
    RoPEMixed,
    GoldenGate,
    DINOv3,
    Spiral,
    GRAPE,
    XPos,
    FoPE,
    CayleySTRING,
    CirculantSTRING,
    HARoPE,
    ComRoPEAP,
    ComRoPELD,
    Spherical,
    LieRE,
    LRPE,
    PoPE,
    GoldenGatePoPE,
    ALiBi,
    T5,
    KERPLE,
    FIRE,
)
ENTRY_POINT_GROUP = "liere.encodings"


@cache
def available() -> dict[str, type[PositionEncoding]]:
    """Name and class of every built-in or installed encoding.

    Raises:
        LiereError: two encodings claim one name, or an installed one can't be imported.
    """
    classes = {cls.name: cls for cls in _BUILT_IN}
    for point in entry_points(group=ENTRY_POINT_GROUP):
        try:
            cls = _checked(point.load(), point.value)
        except ImportError as error:
            raise LiereError(f"encoding '{point.name}' can't be imported: {error}") from None
        if point.name in classes:
            raise LiereError(f"two encodings are named '{point.name}': {point.value} is the second")
        classes[point.name] = cls
    return classes


def encoding_class(name: str) -> type[PositionEncoding]:
    """The class of that name, or of ``path/to/file.py:Class`` (which runs that file's code).

    Raises:
        UsageError: unknown name, no such file or class, or a class that is no PositionEncoding.
        LiereError: the file's own code fails.
    """
    if ".py:" in name:
        return _class_in_file(name)
    if name.endswith(".py"):
        raise UsageError(f"encoding '{name}': name the class too, as {name}:Class")
    if name not in available():
        raise unknown("encoding", name, available())
    return available()[name]


@cache
def _class_in_file(name: str) -> type[PositionEncoding]:
    path_text, _, class_name = name.rpartition(":")
    path = Path(path_text)
    if not path.is_file():
        raise UsageError(f"encoding '{name}': there is no file '{path}'")
    unique = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]
    spec = importlib.util.spec_from_file_location(f"liere_user_{path.stem}_{unique}", path)
    if spec is None or spec.loader is None:
        raise UsageError(f"encoding '{name}': '{path}' is no Python file")
    module = importlib.util.module_from_spec(spec)
    # as an import would: pydantic and inspect look a class's module up by name
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        where = f"'{path}', line {error.lineno}"
        raise LiereError(f"encoding '{name}': {where}: {error.msg}") from error
    except (Exception, SystemExit) as error:
        raise LiereError(
            f"encoding '{name}': running '{path}' failed: {error_summary(error)}"
        ) from error
    if not hasattr(module, class_name):
        classes = [
            key
            for key, value in vars(module).items()
            if inspect.isclass(value) and issubclass(value, PositionEncoding)
        ]
        raise unknown(f"encoding in '{path}':", class_name, classes)
    return _checked(getattr(module, class_name), name)


def error_summary(error: BaseException) -> str:
    """What foreign code died of, in one line: the kind, the message, the place."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {shortened(str(error))}{place}"


def _checked(value: Any, name: str) -> type[PositionEncoding]:
    if not (inspect.isclass(value) and issubclass(value, PositionEncoding)):
        raise UsageError(
            f"encoding '{name}' is no subclass of liere_cli.encodings.PositionEncoding"
        )
    return value


def code_digest(cls: type[PositionEncoding]) -> str | None:
    """Hex digest of the file that defines an encoding from outside liere; None for built-in ones.

    It stands for the code in a run's identity, so that an edited class is a new run.
    """
    if cls in _BUILT_IN:
        return None
    source = inspect.getsourcefile(cls)
    return hashlib.sha256(Path(source).read_bytes()).hexdigest()[:16] if source else None


def resolve_spec(spec: str | Mapping[str, Any]) -> dict[str, Any]:
    """An encoding's name with every option at its value, defaults included."""
    given = parse_spec(spec) if isinstance(spec, str) else dict(spec)
    name = str(given.pop("name", ""))
    options = encoding_class(name).Options.validated(given, f"encoding.{name}")
    return {"name": name, **options.model_dump(mode="json")}


def identifying_spec(spec: str | Mapping[str, Any]) -> dict[str, Any]:
    """A resolved spec without options that joined later and are at their defaults."""
    options = resolve_spec(spec)
    name = options.pop("name")
    return {"name": name, **encoding_class(name).Options.model_validate(options).identifying()}


def label(spec: str | Mapping[str, Any]) -> str:
    """The short form for tables: the name and the options that differ from their defaults, or the
    preset that stands for them.
    """
    resolved = resolve_spec(spec)
    name = resolved.pop("name")
    section = encoding_class(name).Options
    defaults = section().model_dump(mode="json")
    changed = {key for key, value in resolved.items() if value != defaults[key]}
    short = name.rpartition(":")[2] if ".py:" in name else name
    return f"{short}:{shortest(section.presets, resolved, changed)}" if changed else short


def build_encoding(
    spec: str | Mapping[str, Any],
    *,
    axes: int,
    heads: int,
    head_dim: int,
    depth: int = 1,
    dim: int = 0,
    grid: tuple[int, ...] | None = None,
    seed: int | None = None,
) -> PositionEncoding:
    """An initialised encoding for a transformer.

    Args:
        spec: ``"liere:block=8"`` or ``{"name": "liere", "block": 8}``.
        axes, heads, head_dim, depth, dim, grid: see :class:`Shape`.
        seed: fixes the initial parameters; None draws from torch's global generator.

    Raises:
        UsageError: unknown name or option, or a shape that the encoding can't serve.
        LiereError: a foreign encoding's own code fails.
    """
    resolved = resolve_spec(spec)
    cls = encoding_class(resolved.pop("name"))
    shape = Shape(axes, heads, head_dim, depth, dim, grid)
    try:
        encoding = cls(shape, cls.Options.model_validate(resolved))
        if seed is None:
            encoding.initialise(lambda name: None)
        else:
            encoding.initialise(lambda name: stream(seed, "init", "encoding", name))
    except LiereError:
        raise
    except Exception as error:
        if cls in _BUILT_IN:
            raise
        raise LiereError(
            f"encoding '{cls.__name__}' can't be built: {error_summary(error)}"
        ) from error
    return encoding
