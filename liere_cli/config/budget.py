"""Training budgets: an amount of steps, examples, tokens or time."""

import re
from dataclasses import dataclass
from typing import Literal, Self

from pydantic_core import CoreSchema, core_schema

from liere_cli.errors import UsageError

Unit = Literal["steps", "examples", "tokens", "seconds"]

_UNITS: dict[str, tuple[Unit, float]] = {
    "steps": ("steps", 1),
    "examples": ("examples", 1),
    "tokens": ("tokens", 1),
    "s": ("seconds", 1),
    "m": ("seconds", 60),
    "h": ("seconds", 3600),
}
#: other spellings of a unit, and the one that is kept
_SPELLINGS = {
    "step": "steps", "iteration": "steps", "iterations": "steps", "iters": "steps",
    "example": "examples", "sample": "examples", "samples": "examples",
    "token": "tokens",
    "sec": "s", "secs": "s", "second": "s", "seconds": "s",
    "min": "m", "mins": "m", "minute": "m", "minutes": "m",
    "hr": "h", "hrs": "h", "hour": "h", "hours": "h",
}  # fmt: skip
_ALLOWED = (
    "units are steps, examples and tokens (after k, M or G: thousands, millions, billions), and "
    "s, m and h of time, as 2000steps, 50Mtokens, 90s, 10m or 2h"
)


def _unit(word: str) -> str | None:
    """The unit of that name; None: there is none."""
    return _SPELLINGS.get(word.lower(), word.lower() if word.lower() in _UNITS else None)


#: the largest amount; integers up to it are exact in float64
LARGEST = 1e15
_PREFIXES = {"": 1, "k": 1e3, "M": 1e6, "G": 1e9}
#: a time of several parts, as 1h30m
_TIMES = re.compile(r"([0-9]+) ?(?:h|hr|hours?) ?([0-9]+) ?(?:m|min|minutes?)")


@dataclass(frozen=True)
class Budget:
    """An amount of one unit, written ``2000steps``, ``50Mtokens``, ``1Mexamples`` or ``10m``."""

    amount: float
    unit: Unit
    text: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads a budget; k, M and G multiply steps, examples and tokens, not times.

        Spaces, and longer names of units, are read too (``10 min``, ``2k steps``, ``1h30m``); the
        budget's ``text``, which enters identities, is then the short form.

        Raises UsageError if the text is not a budget, or not above zero.
        """
        given = " ".join(text.split())
        if parts := _TIMES.fullmatch(given):
            hours, minutes = (float(part) for part in parts.groups())
            given = f"{hours * 60 + minutes:g}m"
        match = re.fullmatch(r"([0-9]+(?:[,_][0-9]{3})*(?:\.[0-9]+)?) ?([A-Za-z ]*)", given)
        if match is None:
            raise UsageError(f"'{text}' is not a budget: write a number and a unit; {_ALLOWED}")
        number, word = re.sub("[,_]", "", match[1]), match[2].replace(" ", "")
        prefix, unit_name = "", _unit(word)
        if unit_name is None:
            prefix, unit_name = {"K": "k", "B": "G"}.get(word[:1], word[:1]), _unit(word[1:])
        if word in ("", *_PREFIXES, "K", "B"):
            raise UsageError(f"'{text}' has no unit, which a budget needs; {_ALLOWED}")
        if unit_name is None or prefix not in _PREFIXES:
            raise UsageError(f"'{text}': unknown budget unit '{match[2]}'; {_ALLOWED}")
        unit, factor = _UNITS[unit_name]
        if unit == "seconds" and prefix:
            raise UsageError(f"'{text}': times take no prefix '{prefix}'; write s, m or h")
        amount = float(number) * _PREFIXES[prefix] * factor
        if amount <= 0 or (unit != "seconds" and amount < 1):
            raise UsageError(f"'{text}': a budget must be above zero")
        if amount > LARGEST:
            raise UsageError(f"'{text}': a budget is at most {LARGEST:.0e} of its unit")
        return cls(amount, unit, f"{number}{prefix}{unit_name}")

    def __str__(self) -> str:
        return self.text

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: object) -> CoreSchema:
        """A field of a settings section: read from text, dumped as the text."""
        return core_schema.no_info_before_validator_function(
            cls._validated,
            core_schema.is_instance_schema(cls),
            serialization=core_schema.plain_serializer_function_ser_schema(
                str, return_schema=core_schema.str_schema()
            ),
            json_schema_input_schema=core_schema.str_schema(),
        )

    @classmethod
    def _validated(cls, value: object) -> Self:
        if isinstance(value, cls):
            return value
        if not isinstance(value, str):
            raise ValueError(f"has no unit; {_ALLOWED}")
        try:
            return cls.parse(value)
        except UsageError as error:
            raise ValueError(str(error).removeprefix(f"'{value}': ")) from None

    def used(self, *, steps: int, examples: int, tokens: int, seconds: float) -> float:
        """Used share of the budget; 1 or more when it is spent."""
        spent = {"steps": steps, "examples": examples, "tokens": tokens, "seconds": seconds}
        return spent[self.unit] / self.amount
