"""Downloads of single files: resumed after an interruption, verified, then renamed."""

import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from liere_cli.errors import LiereError
from liere_cli.utils.files import digest_of_file, locked

_BLOCK = 1 << 20
_TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class Download:
    """A file on the web: size in bytes and sha256 as served, None and empty if unknown; name of the
    local file, by default the last part of the address.
    """

    url: str
    size: int | None
    sha256: str
    name: str = ""

    @property
    def file_name(self) -> str:
        return self.name or self.url.rsplit("/", 1)[-1]


def download(source: Download, target: Path, alternatives: str) -> Path:
    """Downloads ``source`` to ``target`` unless the file exists, resuming an interrupted transfer;
    several processes can request it at once. Raises LiereError: the download failed; names the
    address, the reason and the alternatives.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(target.with_name(f".{target.name}.lock")):
            if not target.is_file():
                partial = target.with_name(f"{target.name}.part")
                _transfer(source, partial)
                _verify(source, partial)
                partial.replace(target)
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise LiereError(
            f"{target.name} is not available locally and can't be downloaded from {source.url} "
            f"({reason}): {alternatives}"
        ) from None
    return target


def _transfer(source: Download, partial: Path) -> None:
    done = partial.stat().st_size if partial.is_file() else 0
    request = urllib.request.Request(source.url, headers={"User-Agent": "liere"})
    if done:
        request.add_header("Range", f"bytes={done}-")
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        # 416: the partial file is complete, or longer than the file
        if error.code != 416:
            raise
        return
    with response, partial.open("ab" if response.status == 206 else "wb") as file:
        length = response.headers.get("Content-Length")
        received = 0
        while block := response.read(_BLOCK):
            received += file.write(block)
    if length is not None and received < int(length):
        raise ValueError(f"the connection closed after {received:,} of {int(length):,} bytes")


def _verify(source: Download, partial: Path) -> None:
    """Raises ValueError for a wrong size or digest, and removes what can't be resumed."""
    size = partial.stat().st_size
    if source.size is not None and size != source.size:
        if size > source.size:
            partial.unlink()
        raise ValueError(f"it has {size:,} bytes, but {source.size:,} are expected")
    if source.sha256 and (digest := digest_of_file(partial)) != source.sha256:
        partial.unlink()
        raise ValueError(f"its sha256 is {digest}, but {source.sha256} is expected")
