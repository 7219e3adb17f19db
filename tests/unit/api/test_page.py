"""The page brings everything along, and stays small."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.resources import files

import httpx
from forge_api.app import create_app

FILES = {name: (files("forge_api") / "page" / name).read_text() for name in ("index.html", "app.js", "style.css")}


def test_it_is_small() -> None:
    assert sum(len(text.encode()) for text in FILES.values()) < 40_000


def test_it_asks_nobody_else() -> None:
    for name, text in FILES.items():
        foreign = [url for url in re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"']*", text) if "www.w3.org" not in url]
        assert foreign == [], name
    assert "innerHTML" not in FILES["app.js"], "what the API answers is text, never markup"


async def test_its_policy_forbids_anybody_else(client_of: Callable[..., httpx.AsyncClient]) -> None:
    client = client_of(create_app(lambda: "", stack_name="<b>acme</b>"))
    for path, media_type in (("/", "text/html"), ("/app.js", "text/javascript"), ("/style.css", "text/css")):
        response = await client.get(path)
        assert response.headers["content-type"].startswith(media_type)
        assert "default-src 'none'" in response.headers["content-security-policy"]
        assert "unsafe" not in response.headers["content-security-policy"]
    assert "&lt;b&gt;acme&lt;/b&gt;" in (await client.get("/")).text


async def test_the_documentation_works_offline(client_of: Callable[..., httpx.AsyncClient]) -> None:
    client = client_of(create_app(lambda: ""))
    page = (await client.get("/docs")).text
    assert "http" not in re.sub(r"https?://www\.w3\.org\S*", "", page)
    for path in re.findall(r"(?:src|href)=\"(/[^\"]+)\"", page):
        assert (await client.get(path)).status_code == 200, path
