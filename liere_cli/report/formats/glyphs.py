"""The characters of tables on a terminal: Unicode, or ASCII where its encoding has no others."""

from dataclasses import dataclass

from liere_cli.report.escape import plain


@dataclass(frozen=True)
class Glyphs:
    """Marks of verdicts, and the parts of an interval's bar.

    Args:
        zero, margin: lines of the scale; ``crossing`` is zero on an interval.
        encoding: of the terminal.
        replaced: characters of tables by what is shown in their place.
    """

    marks: dict[str, str]
    line: str
    zero: str
    crossing: str
    margin: str
    point: str
    bullet: str
    encoding: str
    replaced: dict[int, str]

    def shown(self, text: str) -> str:
        """Text without control characters, and without any that the terminal lacks."""
        shown = plain(text).translate(self.replaced)
        return shown if self.encoding == "utf-8" else _encodable(shown, self.encoding)


_UNICODE = Glyphs(
    {"better": "✓", "worse": "✗", "equivalent": "≈", "undecided": "?"},
    "─", "│", "┼", "┊", "●", "·", "utf-8", {},
)  # fmt: skip
#: characters that tables use themselves
_REPLACED = {
    "±": "+-", "·": "-", "–": "-", "≤": "<=", "…": "...", "’": "'", "→": "->", "×": "x",  # noqa: RUF001
}  # fmt: skip


def glyphs_for(encoding: str) -> Glyphs:
    """Unicode where an encoding has all of its characters, else ASCII."""
    needed = "".join([*_UNICODE.marks.values(), "─│┼┊●·±–"])  # noqa: RUF001
    if _encodable(needed, encoding) == needed:
        return _UNICODE
    return Glyphs(
        {"better": "+", "worse": "-", "equivalent": "=", "undecided": "?"},
        "-", "|", "+", ":", "o", "-", encoding, str.maketrans(_REPLACED),
    )  # fmt: skip


def _encodable(text: str, encoding: str) -> str:
    """The text with a question mark for what an encoding lacks; ASCII where it is not known."""
    try:
        return text.encode(encoding, "replace").decode(encoding)
    except (LookupError, UnicodeError):
        return text.encode("ascii", "replace").decode("ascii")
