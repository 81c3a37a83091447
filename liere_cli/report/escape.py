"""Escapes text that comes from users, data or files for each output format."""

import re

_LATEX = {char: f"\\{char}" for char in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "·": r"$\cdot$",
    "≤": r"$\le$",
}

#: the first characters of a formula, full-width forms included
_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")  # noqa: RUF001


def plain(text: str) -> str:
    """Text on one line, without control characters that could drive a terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def markdown(text: str) -> str:
    """Text that Markdown shows unchanged, also in a table's cell."""
    escaped = re.sub(r"([\\`*_{}\[\]<>#|~$&])", r"\\\1", plain(text))
    # the start of a list item
    return re.sub(r"^([+-])(?=\s)", r"\\\1", escaped)


def latex(text: str) -> str:
    """Text that LaTeX shows unchanged; signed numbers are in math mode."""
    escaped = "".join(_LATEX.get(char, char) for char in plain(text))
    return re.sub(r"(?<![\w.])([+-]\d[\d.,]*\d|[+-]\d)(?![\w.])", r"$\1$", escaped)


def csv_cell(text: str) -> str:
    """Text that a spreadsheet shows and does not run as a formula."""
    shown = plain(text)
    return f"'{shown}" if shown.lstrip().startswith(_FORMULA) else shown
