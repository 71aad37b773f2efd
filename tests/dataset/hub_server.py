"""A small Hugging Face Hub on this machine: as much of its HTTP API as `datasets` and `HfApi` use to read."""

from __future__ import annotations

import hashlib
import socket
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.requests import Request


@dataclass
class Repo:
    """A dataset repository; its branch `main` is the newest of its commits."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    token: str | None = None
    gated: bool = False

    def commit(self, files: dict[str, bytes]) -> str:
        sha = hashlib.sha1(repr((len(self.commits), sorted(files))).encode()).hexdigest()
        self.commits[sha] = files
        return sha

    def resolve(self, revision: str) -> str | None:
        if revision == "main":
            return next(reversed(self.commits))
        return revision if revision in self.commits else None


@dataclass
class Hub:
    repos: dict[str, Repo] = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)
    """Earlier names of datasets, and the names that they have now."""
    requests: list[str] = field(default_factory=list)
    sent: int = 0
    """Bytes of files."""
    url: str = ""

    def app(self) -> Starlette:
        api = "/api/datasets/{owner}/{name}"
        return Starlette(
            routes=[
                Route(api, self.info),
                Route(f"{api}/revision/{{revision}}", self.info),
                Route(f"{api}/tree/{{revision}}", self.tree),
                Route(f"{api}/tree/{{revision}}/{{path:path}}", self.tree),
                Route(f"{api}/paths-info/{{revision}}", self.paths_info, methods=["POST"]),
                Route("/datasets/{owner}/{name}/resolve/{revision}/{path:path}", self.resolve),
                Route("/{path:path}", self.unknown),
            ]
        )

    async def info(self, request: Request) -> Response:
        found = self._find(request)
        if isinstance(found, Response):
            return found
        sha, files = found
        name = "{owner}/{name}".format(**request.path_params)
        siblings = [{"rfilename": path} for path in files]
        facts = {"id": name, "sha": sha, "siblings": siblings, "private": False, "tags": [], "downloads": 0}
        return JSONResponse(facts | {"_id": "0", "disabled": False, "gated": False, "likes": 0})

    async def tree(self, request: Request) -> Response:
        found = self._find(request)
        if isinstance(found, Response):
            return found
        folder = request.path_params.get("path", "").strip("/")
        return self._listed(
            found[1], folder, recursive=request.query_params.get("recursive", "").lower() in ("true", "1")
        )

    async def paths_info(self, request: Request) -> Response:
        found = self._find(request)
        if isinstance(found, Response):
            return found
        if "json" in request.headers.get("content-type", ""):
            paths = (await request.json())["paths"]
        else:
            paths = parse_qs((await request.body()).decode())["paths"]
        files = found[1]
        entries = [_file(path, files[path]) for path in paths if path in files]
        folders = [path for path in paths if any(file.startswith(f"{path}/") for file in files)]
        return JSONResponse(entries + [_folder(path) for path in folders])

    async def resolve(self, request: Request) -> Response:
        found = self._find(request)
        if isinstance(found, Response):
            return found
        sha, files = found
        path = request.path_params["path"]
        if path not in files:
            return _refusal(404, "EntryNotFound", {"X-Repo-Commit": sha})
        body = files[path]
        headers = {"X-Repo-Commit": sha, "ETag": f'"{_oid(body)}"', "Accept-Ranges": "bytes"}
        if asked := request.headers.get("range"):
            first, _, last = asked.removeprefix("bytes=").partition("-")
            end = int(last) + 1 if last else len(body)
            end = min(end, len(body))
            self.sent += end - int(first)
            headers["Content-Range"] = f"bytes {first}-{end - 1}/{len(body)}"
            return Response(body[int(first) : end], 206, headers)
        self.sent += len(body) if request.method == "GET" else 0
        return Response(body, headers=headers)

    async def unknown(self, request: Request) -> Response:
        self.requests.append(f"UNKNOWN {request.method} {request.url.path}")
        return Response("not here", 404)

    def _find(self, request: Request) -> tuple[str, dict[str, bytes]] | Response:
        self.requests.append(f"{request.method} {request.url.path}")
        asked = "{owner}/{name}".format(**request.path_params)
        if asked in self.renamed:
            there = request.url.path.replace(f"/{asked}", f"/{self.renamed[asked]}", 1)
            return RedirectResponse(f"{there}?{request.url.query}".removesuffix("?"), 307)
        repo = self.repos.get(asked)
        told = request.headers.get("authorization", "")
        if repo is None or (repo.token is not None and told != f"Bearer {repo.token}"):
            # As the Hub does: who may not know of a dataset is not told that there is one.
            return _refusal(401, "GatedRepo" if repo is not None and repo.gated else "RepoNotFound")
        sha = repo.resolve(request.path_params.get("revision", "main"))
        return _refusal(404, "RevisionNotFound") if sha is None else (sha, repo.commits[sha])

    def _listed(self, files: dict[str, bytes], folder: str, *, recursive: bool) -> Response:
        below = f"{folder}/" if folder else ""
        inside = [path for path in files if path.startswith(below)]
        if folder and not inside:
            return _refusal(404, "EntryNotFound")
        entries: dict[str, dict[str, Any]] = {}
        for path in inside:
            parts = path.removeprefix(below).split("/")
            for depth in range(1, len(parts)):
                name = below + "/".join(parts[:depth])
                if recursive or depth == 1:
                    entries.setdefault(name, _folder(name))
            if recursive or len(parts) == 1:
                entries[path] = _file(path, files[path])
        return JSONResponse(list(entries.values()))


def _oid(body: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()


def _file(path: str, body: bytes) -> dict[str, Any]:
    return {"type": "file", "path": path, "size": len(body), "oid": _oid(body)}


def _folder(path: str) -> dict[str, Any]:
    return {"type": "directory", "path": path, "size": 0, "oid": hashlib.sha1(path.encode()).hexdigest()}


def _refusal(status: int, code: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse(
        {"error": code}, status, {"X-Error-Code": code, "X-Error-Message": code, **(headers or {})}
    )


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """`hub` on a free port of this machine, in a thread."""
    listener = socket.create_server(("127.0.0.1", 0))
    hub.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = uvicorn.Server(uvicorn.Config(hub.app(), log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()
