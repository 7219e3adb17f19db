"""The dashboard page: a few files of this package, no build step, nothing from elsewhere."""

from __future__ import annotations

from html import escape
from importlib.resources import files
from typing import Final

from fastapi import FastAPI
from fastapi.responses import Response

_FOLDER = files("forge_api") / "page"
_TYPES: Final = {
    "style.css": "text/css",
    **dict.fromkeys(("app.js", "board.js", "lib.js", "tickets.js"), "text/javascript"),
}
_HEADERS: Final = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def install(app: FastAPI, stack_name: str) -> None:
    """Serves the page at `/` and its other files beside it; `stack_name` is what it is headed with."""
    index = (_FOLDER / "index.html").read_text(encoding="utf-8").replace("{{stack}}", escape(stack_name))
    _serve(app, "/", index, "text/html")
    for name, media_type in _TYPES.items():
        _serve(app, f"/{name}", (_FOLDER / name).read_text(encoding="utf-8"), media_type)


def _serve(app: FastAPI, path: str, content: str, media_type: str) -> None:
    @app.get(path, include_in_schema=False)
    async def file() -> Response:
        return Response(content, media_type=media_type, headers=_HEADERS)
