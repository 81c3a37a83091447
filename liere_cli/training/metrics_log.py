"""Writing metrics.jsonl."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from liere_cli.errors import unwritable
from liere_cli.utils.files import write_atomically


class MetricsLog:
    """metrics.jsonl, rewound to ``content`` and written line by line; LiereError if it can't be."""

    def __init__(self, path: Path, content: bytes) -> None:
        self.path, self.content = path, bytearray(content)

    def __enter__(self) -> Self:
        write_atomically(self.path, bytes(self.content))
        with self._os_errors_reported():
            self._file = self.path.open("ab", buffering=0)
        return self

    def write(self, line: Mapping[str, float | None]) -> None:
        text = (json.dumps(line, allow_nan=False) + "\n").encode()
        self.content += text
        with self._os_errors_reported():
            rest = memoryview(text)
            while rest:  # on a nearly full disk, a write takes only a part
                rest = rest[self._file.write(rest) :]

    def __exit__(self, *exception: object) -> None:
        with self._os_errors_reported():
            try:
                os.fsync(self._file.fileno())
            finally:
                self._file.close()

    @contextmanager
    def _os_errors_reported(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise unwritable(self.path, error) from None
