"""A server on this machine with the layout of the Hugging Face hub, for ``HF_ENDPOINT``."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


class Hub:
    """Data sets by name; each revision is a mapping of paths to contents.

    Args:
        cut: bytes after which the next answers to requests of a file break off, by path.
        requests: how often each file was requested.
    """

    def __init__(self) -> None:
        self.revisions: dict[str, dict[str, dict[str, bytes]]] = {}
        self.branches: dict[str, str] = {}
        self.cut: dict[str, list[int]] = {}
        self.requests: Counter[str] = Counter()
        self.url = ""

    def push(self, name: str, files: dict[str, bytes]) -> str:
        """Commits a data set's files to its main branch; returns the identity of the commit."""
        digest = hashlib.sha1(repr((name, sorted(files.items()))).encode()).hexdigest()
        self.revisions.setdefault(name, {})[digest] = files
        self.branches[name] = digest
        return digest

    def commit(self, name: str, revision: str) -> str | None:
        revision = self.branches.get(name, "") if revision == "main" else revision
        return revision if revision in self.revisions.get(name, {}) else None


def _entry(path: str, content: bytes) -> dict[str, Any]:
    oid = hashlib.sha1(content).hexdigest()
    return {"type": "file", "path": path, "size": len(content), "oid": oid}


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length)
        self._answer()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if match := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            return self._info(match[1], match[2] or "main")
        if match := re.fullmatch(
            r"/api/datasets/([^/]+/[^/]+)/(tree|paths-info)/([^/]+)/?(.*)", path
        ):
            return self._listing(*match.groups())
        if match := re.fullmatch(r"/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            return self._file(*match.groups())
        return self._send(404, b"{}")

    def _info(self, name: str, revision: str) -> None:
        commit = self.hub.commit(name, revision)
        if commit is None:
            return self._missing(
                "RepoNotFound" if name not in self.hub.branches else "RevisionNotFound"
            )
        files = [{"rfilename": path} for path in self.hub.revisions[name][commit]]
        return self._json(
            {"id": name, "sha": commit, "siblings": files, "private": False, "tags": []}
        )

    def _listing(self, name: str, kind: str, revision: str, folder: str) -> None:
        commit = self.hub.commit(name, revision)
        if commit is None:
            return self._missing("RevisionNotFound")
        files = self.hub.revisions[name][commit]
        if kind == "paths-info":
            text = self.body.decode()
            paths = json.loads(text)["paths"] if text.startswith("{") else parse_qs(text)["paths"]
            found = [_entry(path, files[path]) for path in paths if path in files]
            found += [
                {"type": "directory", "path": path, "oid": "0" * 40, "size": 0}
                for path in paths
                if any(name.startswith(f"{path}/") for name in files)
            ]
            return self._json(found)
        recursive = "recursive=true" in self.path.lower()
        prefix = f"{folder}/" if folder else ""
        below = {path: content for path, content in files.items() if path.startswith(prefix)}
        if folder and not below:
            return self._missing("EntryNotFound")
        listed = [
            _entry(path, content)
            for path, content in below.items()
            if recursive or "/" not in path[len(prefix) :]
        ]
        folders = {
            prefix + path[len(prefix) :].split("/")[0]
            for path in below
            if "/" in path[len(prefix) :]
        }
        listed += [
            {"type": "directory", "path": path, "oid": "0" * 40, "size": 0} for path in folders
        ]
        return self._json(listed)

    def _file(self, name: str, revision: str, path: str) -> None:
        commit = self.hub.commit(name, revision)
        if commit is None or path not in self.hub.revisions[name][commit]:
            return self._missing("EntryNotFound")
        content = self.hub.revisions[name][commit][path]
        headers = {
            "ETag": f'"{hashlib.sha1(content).hexdigest()}"',
            "X-Repo-Commit": commit,
            "Accept-Ranges": "bytes",
        }
        status, total = 200, len(content)
        if match := re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or ""):
            first, last = int(match[1]), int(match[2] or total - 1)
            if first >= total:
                return self._send(416, b"")
            status, content = 206, content[first : last + 1]
            headers["Content-Range"] = f"bytes {first}-{first + len(content) - 1}/{total}"
        if self.command == "GET":
            self.hub.requests[path] += 1
        cuts = self.hub.cut.get(path)
        return self._send(
            status, content, headers, cuts.pop(0) if cuts and self.command == "GET" else None
        )

    def _missing(self, code: str) -> None:
        self._send(404, b"{}", {"X-Error-Code": code})

    def _json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(
        self,
        status: int,
        content: bytes,
        headers: dict[str, str] | None = None,
        cut: int | None = None,
    ) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[:cut])
        if cut is not None:
            self.wfile.flush()
            self.close_connection = True
            self.connection.close()


@contextmanager
def served(hub: Hub) -> Iterator[str]:
    """Serves the hub; the address for ``HF_ENDPOINT``."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub.url
    finally:
        server.shutdown()
        server.server_close()
