"""Fetching one file: resumed where it stopped, checked, then renamed into place."""

import hashlib
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from liere_cli.errors import LiereError

_BLOCK = 1 << 20
_TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class Download:
    """A file on the web.

    Args:
        size: in bytes, where it is known.
        sha256: of the file as it comes, where it is known.
        name: what to call it here; the last part of the address by default.
    """

    url: str
    size: int | None
    sha256: str
    name: str = ""

    @property
    def file_name(self) -> str:
        return self.name or self.url.rsplit("/", 1)[-1]


def download(source: Download, target: Path, instead: str) -> Path:
    """``source`` at ``target``, fetched unless it is there.

    Several processes may ask at once; a transfer that broke off goes on where it stopped.

    Args:
        instead: how to go on without the download, for the message.

    Raises:
        LiereError: what was tried, why it failed, and how to go on.
    """
    from filelock import FileLock

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f".{target.name}.lock")):
            if not target.is_file():
                partial = target.with_name(f"{target.name}.part")
                _transfer(source, partial)
                _check(source, partial)
                os.replace(partial, target)
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise LiereError(
            f"{target.name} is not at hand and can't be downloaded from {source.url} ({reason}): "
            f"{instead}"
        ) from None
    return target


def _transfer(source: Download, partial: Path) -> None:
    done = partial.stat().st_size if partial.is_file() else 0
    request = urllib.request.Request(source.url, headers={"User-Agent": "liere"})
    if done:
        request.add_header("Range", f"bytes={done}-")
    try:
        answer = urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        # 416: everything is there already, or the part is longer than the file
        if error.code != 416:
            raise
        return
    with answer, partial.open("ab" if answer.status == 206 else "wb") as file:
        announced = answer.headers.get("Content-Length")
        received = 0
        while block := answer.read(_BLOCK):
            received += file.write(block)
    if announced is not None and received < int(announced):
        raise ValueError(f"it broke off after {received:,} of {int(announced):,} bytes")


def _check(source: Download, partial: Path) -> None:
    size = partial.stat().st_size
    if source.size is not None and size != source.size:
        if size > source.size:
            partial.unlink()
        raise ValueError(f"it has {size:,} bytes, but {source.size:,} are expected")
    digest = hashlib.sha256()
    with partial.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    if source.sha256 and digest.hexdigest() != source.sha256:
        # what is wrong now would stay wrong when resumed
        partial.unlink()
        raise ValueError(f"its sha256 is {digest.hexdigest()}, but {source.sha256} is expected")
