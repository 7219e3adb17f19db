"""Text of Jira: Cloud's documents (Atlassian Document Format) as plain text. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from forge_pipelines.tables import json_text

BLOCKS = {
    "paragraph", "heading", "codeBlock", "blockquote", "panel", "rule", "listItem", "taskItem", "decisionItem",
    "tableRow", "tableCell", "tableHeader", "mediaSingle", "mediaGroup", "blockCard", "embedCard", "expand",
    "nestedExpand", "caption", "extension",
}  # fmt: skip


def plain(body: Any) -> str | None:
    """A description or comment as text: Data Center's as it is, a Cloud document flattened; None for none.

    Blocks and table cells are lines, list items begin with `- ` or their number; mentions, emojis, dates, statuses and
    cards keep what they show. Nesting has no limit: the walk keeps its own stack.
    """
    if body is None or isinstance(body, str):
        return body
    if not isinstance(body, (dict, list)):
        return str(body)
    pieces: list[str] = []
    stack: list[Any] = [body]
    while stack:
        node = stack.pop()
        if isinstance(node, str):
            _add(pieces, node)
        elif isinstance(node, list):
            stack += reversed(node)
        elif isinstance(node, dict):
            kind = node.get("type")
            line = [LINE] if kind in BLOCKS else []
            stack += reversed([*line, *_content(node, kind), *line])
    return "".join(pieces).strip("\n")


LINE = "\0line"
"""Mark in the walk: a new line, none where one begins already."""


def _add(pieces: list[str], text: str) -> None:
    if text == LINE:
        if pieces and not pieces[-1].endswith("\n") and not isinstance(pieces[-1], Marker):
            pieces.append("\n")
    elif text:
        pieces.append(text)


class Marker(str):
    """The beginning of a list item: the block inside it begins on the same line."""


def _content(node: dict[str, Any], kind: Any) -> list[Any]:
    attributes = node.get("attrs")
    attrs: dict[str, Any] = attributes if isinstance(attributes, dict) else {}
    content = node.get("content")
    inner: list[Any] = content if isinstance(content, list) else []
    match kind:
        case "text":
            return [str(node.get("text") or "").replace("\0", "")]
        case "hardBreak":
            return ["\n"]
        case "mention" | "emoji" | "status":
            return [str(attrs.get("text") or attrs.get("shortName") or "")]
        case "inlineCard" | "blockCard" | "embedCard":
            return [str(attrs.get("url") or _url(attrs.get("data")))]
        case "date":
            return [_date(attrs.get("timestamp"))]
        case "media" | "mediaInline":
            return [str(attrs.get("alt") or "")]
        case "bulletList":
            return [part for item in inner for part in (LINE, Marker("- "), item)]
        case "orderedList":
            first = attrs.get("order")
            number = first if isinstance(first, int) else 1
            return [part for n, item in enumerate(inner, number) for part in (LINE, Marker(f"{n}. "), item)]
        case "taskItem":
            return [Marker("- [x] " if attrs.get("state") == "DONE" else "- [ ] "), *inner]
        case _:
            return inner


def _url(data: Any) -> str:
    return str(data.get("url") or "") if isinstance(data, dict) else ""


def _date(timestamp: Any) -> str:
    """ADF's dates are epoch milliseconds (as text) of a day in UTC."""
    try:
        return datetime.fromtimestamp(int(timestamp) / 1000, UTC).date().isoformat()
    except (TypeError, ValueError, OverflowError, OSError):
        return "" if timestamp is None else json_text(timestamp)
