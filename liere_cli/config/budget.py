"""Training budgets: an amount of steps, examples, tokens or time."""

import re
from dataclasses import dataclass
from typing import Literal, Self

from pydantic_core import CoreSchema, core_schema

from liere_cli.errors import UsageError, unknown

Unit = Literal["steps", "examples", "tokens", "seconds"]

_UNITS: dict[str, tuple[Unit, float]] = {
    "steps": ("steps", 1),
    "examples": ("examples", 1),
    "tokens": ("tokens", 1),
    "s": ("seconds", 1),
    "m": ("seconds", 60),
    "h": ("seconds", 3600),
}
#: the largest amount; integers up to it are exact in float64
LARGEST = 1e15
_PREFIXES = {"": 1, "k": 1e3, "M": 1e6, "G": 1e9}


@dataclass(frozen=True)
class Budget:
    """An amount of one unit, written ``2000steps``, ``50Mtokens``, ``1Mexamples`` or ``10m``."""

    amount: float
    unit: Unit
    text: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads a budget; k, M and G multiply steps, examples and tokens, not times.

        Raises UsageError if the text is not a budget, or not above zero.
        """
        match = re.fullmatch(r"(\d+(?:\.\d+)?)([kMG]?)([a-z]+)", text.strip())
        if match is None:
            raise UsageError(
                f"'{text}' is not a budget; write a number and a unit, such as "
                "2000steps, 50Mtokens, 100kexamples, 90s, 10m or 2h"
            )
        number, prefix, suffix = match.groups()
        if suffix not in _UNITS:
            raise unknown("budget unit", suffix, _UNITS)
        unit, factor = _UNITS[suffix]
        if unit == "seconds" and prefix:
            raise UsageError(f"'{text}': times take no prefix '{prefix}'; write s, m or h")
        amount = float(number) * _PREFIXES[prefix] * factor
        if amount <= 0 or (unit != "seconds" and amount < 1):
            raise UsageError(f"'{text}': a budget must be above zero")
        if amount > LARGEST:
            raise UsageError(f"'{text}': a budget is at most {LARGEST:.0e} of its unit")
        return cls(amount, unit, text.strip())

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
            raise ValueError("must be text with a unit, as 2000steps or 10m")
        try:
            return cls.parse(value)
        except UsageError as error:
            raise ValueError(str(error).removeprefix(f"'{value}': ")) from None

    def used(self, *, steps: int, examples: int, tokens: int, seconds: float) -> float:
        """Used share of the budget; 1 or more when it is spent."""
        spent = {"steps": steps, "examples": examples, "tokens": tokens, "seconds": seconds}
        return spent[self.unit] / self.amount
