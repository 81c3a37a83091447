"""Names from others, made harmless for the place where they are shown."""

import re

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "·": r"$\cdot$",
    "≤": r"$\le$",
}


#: what begins a formula, also as wide as an ideograph
_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")  # noqa: RUF001


def plain(text: str) -> str:
    """Text on one line, without control characters that could drive a terminal."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def markdown(text: str) -> str:
    """Text that Markdown shows as it stands, in a table's cell too."""
    escaped = re.sub(r"([\\`*_{}\[\]<>#|~$&])", r"\\\1", plain(text))
    # a line that would begin a list, a heading or a quotation
    return re.sub(r"^([+-])(?=\s)", r"\\\1", escaped)


def latex(text: str) -> str:
    """Text that LaTeX shows as it stands; signed numbers are set in mathematics."""
    escaped = "".join(_LATEX.get(char, char) for char in plain(text))
    return re.sub(r"(?<![\w.])([+-]\d[\d.,]*\d|[+-]\d)(?![\w.])", r"$\1$", escaped)


def csv_cell(text: str) -> str:
    """Text that a spreadsheet shows instead of running it as a formula."""
    shown = plain(text)
    return f"'{shown}" if shown.lstrip().startswith(_FORMULA) else shown
