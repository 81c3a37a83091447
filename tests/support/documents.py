"""The documents of the project and the code blocks in them."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "outputs" / "published").rglob("README.md")),
]
#: languages of blocks that are executed or validated; others show output and file listings
LANGUAGES = ("sh", "python", "yaml", "toml")
_BLOCK = re.compile(
    r"^(?:<!-- not run: (?P<reason>[^\n]+) -->\n)?```(?P<language>\w+)\n(?P<content>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Block:
    """A fenced code block.

    Args:
        line: number of its first line.
        reason: why it is not run, from the comment before it: ``<!-- not run: REASON -->``.
    """

    document: Path
    line: int
    language: str
    content: str
    reason: str | None

    def __str__(self) -> str:
        return f"{self.document.relative_to(ROOT)}:{self.line}"

    @property
    def commands(self) -> list[list[str]]:
        """The words of each command of a shell block, without comments."""
        lines = [shlex.split(line, comments=True) for line in self.content.splitlines()]
        return [words for words in lines if words]


def blocks_of(document: Path) -> Iterator[Block]:
    """The blocks of a document in :data:`LANGUAGES`."""
    text = document.read_text()
    for match in _BLOCK.finditer(text):
        if match["language"] in LANGUAGES:
            line = text.count("\n", 0, match.start("content")) + 1
            yield Block(document, line, match["language"], match["content"], match["reason"])


BLOCKS = [block for document in DOCUMENTS for block in blocks_of(document)]
