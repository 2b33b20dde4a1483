"""A Hugging Face Hub of one's own: the routes that the client uses, over HTTP on this machine, and what goes wrong."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34


@dataclass
class Hub:
    """What the server has, what it does wrong, and what it was asked."""

    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """For each ``OWNER/REPO`` its files, all at COMMIT, which is also its ``main`` and its ``v1``."""
    gated: set[str] = field(default_factory=set)
    instead: dict[bytes, bytes] = field(default_factory=dict)
    """What is sent in the place of some contents."""
    cut_after: list[int] = field(default_factory=list)
    """After how many bytes the next answers are cut off, one answer each."""
    down: bool = False
    asked: list[str] = field(default_factory=list)
    """Method, path and range of all requests."""
    endpoint: str = ""

    def find(self, repo: str, revision: str) -> dict[str, bytes] | str:
        """The files, or the hub's word for why there are none."""
        if repo not in self.files:
            return "RepoNotFound"
        if repo in self.gated:
            return "GatedRepo"
        return self.files[repo] if revision in ("main", "v1", COMMIT) else "RevisionNotFound"


def serve(hub: Hub) -> ThreadingHTTPServer:
    """The server, running in a thread; ``hub`` may be changed meanwhile."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            self._answer()

        def log_message(self, *values: object) -> None:
            pass

        def _answer(self) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.asked.append(" ".join(filter(None, (self.command, path, self.headers.get("Range")))))
            if hub.down:
                self._send(503)
            elif match := re.fullmatch(r"/cdn/(\w+)", path):
                self._content(match[1])
            elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)", path):
                found = hub.find(*match.groups())
                if isinstance(found, str):
                    self._refuse(found)
                else:
                    tree = [
                        {"type": "file", "path": name, "size": len(data), "oid": "0"} for name, data in found.items()
                    ]
                    self._send(200, json.dumps(tree).encode(), {"Content-Type": "application/json"})
            elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
                found = hub.find(match[1], match[2])
                if isinstance(found, str):
                    self._refuse(found)
                elif match[3] not in found:
                    self._refuse("EntryNotFound")
                else:
                    data = found[match[3]]
                    # The hub keeps large files on another host, which the client follows for the contents alone.
                    elsewhere = hub.endpoint.replace("127.0.0.1", "localhost")
                    digest = hashlib.sha256(data).hexdigest()
                    large = {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(data))}
                    where = {"X-Repo-Commit": COMMIT, "Location": f"{elsewhere}/cdn/{digest}"}
                    self._send(302, b"", large | where)
            else:
                self._send(404)

        def _content(self, digest: str) -> None:
            everything = {
                hashlib.sha256(data).hexdigest(): data for files in hub.files.values() for data in files.values()
            }
            data = everything[digest]
            data = hub.instead.get(data, data)
            start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
            headers = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if start else {}
            self._send(
                206 if start else 200, data[start:], headers, cut=hub.cut_after.pop(0) if hub.cut_after else None
            )

        def _refuse(self, why: str) -> None:
            self._send({"GatedRepo": 401}.get(why, 404), b"", {"X-Error-Code": why, "X-Repo-Commit": COMMIT})

        def _send(
            self, code: int, body: bytes = b"", headers: dict[str, str] | None = None, cut: int | None = None
        ) -> None:
            self.send_response(code)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body[:cut])
            if cut is not None:
                self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    return server
