"""A table as cells of text."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """One column of text.

    Args:
        cost: what an encoding costs, not how it scores.
        number: aligned to the right.
    """

    header: str
    cells: tuple[str, ...]
    cost: bool = False
    number: bool = True


@dataclass(frozen=True)
class Sheet:
    """One table of text with its heading and the notes below it.

    Args:
        kind: what stands beside the title: a modality.
    """

    title: str
    kind: str
    columns: list[Column]
    notes: list[str]

    @property
    def rows(self) -> int:
        return len(self.columns[0].cells)
