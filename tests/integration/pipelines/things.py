"""`forge-load` with a source that only these tests know, in the place of Jira's: what they test is the load itself.

The source asks for things by their update, a hundred a page, and reads an hour again; it has two tables.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

from forge_pipelines import main, sources
from forge_pipelines.http import Api
from forge_pipelines.main import WithoutPandas
from forge_pipelines.problems import LoadError

OVERLAP = timedelta(hours=1)


def tables() -> Any:
    import pyarrow as pa
    from forge_pipelines.tables import DAY, MOMENT, SMALL_INTEGER, TEXT, Table, optional, required

    issues = [required("id", TEXT), required("updated_at", MOMENT), optional("due_date", DAY), required("labels", TEXT)]
    logs = [required("issue_id", TEXT), required("item_index", SMALL_INTEGER), required("created_at", MOMENT)]
    return (
        Table("issues", pa.schema(issues), ("id",), "updated_at"),
        Table("issue_changelogs", pa.schema(logs), ("issue_id", "item_index"), "created_at"),
    )


def connect(spec: Any, credentials: Any) -> Api:
    return Api(spec.url, {}, basic=(credentials.require("email"), credentials.require("token")))


def pages(spec: Any, api: Api, scope: Any) -> Iterator[Any]:
    from forge_pipelines.sources import Page
    from forge_pipelines.tables import iso, moment

    issues, logs = tables()
    mark = moment(scope.state.get("mark"))
    start, end = scope.window or ((mark - OVERLAP if mark else spec.since), None)
    params: dict[str, Any] = {"project": spec.projects[0]}
    params |= {name: iso(at) for name, at in (("from", start), ("to", end)) if at}
    while True:
        try:
            answer = api.get("/things", params, what="the things")
        except LoadError as error:
            if error.reason == "NotFound":
                raise LoadError("NotFound", f"{api.host} knows no project {spec.projects[0]}; correct it") from error
            raise
        rows = [{"id": t["id"], "updated_at": moment(t["updated"]), "labels": "[]"} for t in answer["things"]]
        newest: datetime | None = max((row["updated_at"] for row in rows), default=mark)
        changes = [{"issue_id": row["id"], "item_index": 0, "created_at": row["updated_at"]} for row in rows]
        state = {"mark": iso(newest)} if newest else {}
        yield Page({"issues": issues.page(rows), "issue_changelogs": logs.page(changes)}, state, newest, newest)
        if not answer["next"]:
            return
        params["after"] = answer["next"]


if __name__ == "__main__":
    sys.meta_path.insert(0, WithoutPandas())
    module = SimpleNamespace(TABLES=tables(), connect=connect, pages=pages)
    sources.module = lambda kind: module
    main.main()
