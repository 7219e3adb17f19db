"""The page brings everything along, and stays small."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import httpx
import yaml
from forge_api.app import create_app

FILES = {file.name: file.read_text() for file in (files("forge_api") / "page").iterdir()}


def test_it_is_small() -> None:
    assert sum(len(text.encode()) for text in FILES.values()) < 60_000


def test_it_asks_nobody_else() -> None:
    for name, text in FILES.items():
        foreign = [url for url in re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"']*", text) if "www.w3.org" not in url]
        assert foreign == [], name
        assert "innerHTML" not in text, "what the API answers is text, never markup"


def test_each_name_of_a_number_has_a_definition() -> None:
    """The page opens a definition by the number's name in the catalogue; one that is not there would open nothing."""
    catalogue = yaml.safe_load((Path(__file__).parents[3] / "dbt/models/gold/metrics.yml").read_text(encoding="utf-8"))
    known = {kpi["name"] for kpi in catalogue["models"][0]["config"]["meta"]["kpis"]}
    board = FILES["board.js"]
    terms = re.findall(r'(?:term|fact)\("(\w+)"', board)
    for table in ("DORA", "ACTORS"):
        listed = board.partition(f"const {table} = [")[2].partition("];\n\n")[0]
        terms += re.findall(r'^  \["(\w+)"', listed, re.MULTILINE)
    assert len(terms) > 20
    assert set(terms) <= known


async def test_its_policy_forbids_anybody_else(client_of: Callable[..., httpx.AsyncClient]) -> None:
    client = client_of(create_app(lambda: "", stack_name="<b>acme</b>"))
    media_types = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
    for name in FILES:
        path, media_type = "/" if name == "index.html" else f"/{name}", media_types[Path(name).suffix]
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
