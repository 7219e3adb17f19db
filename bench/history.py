"""Bronze of a large organisation, written by the store itself: tickets at a steady rate, each with what belongs to it.

The history is a function of the ticket's number, counted back from one end, so that ten times the tickets is ten times
the time, at the same rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml
from clickhouse_connect.driver.client import Client
from forge_transform import project_dir

TICKETS_PER_DAY = 200
OBSERVATIONS_PER_TRACE, TRACES_PER_TICKET = 8, 3
SERIES, SAMPLES_PER_DAY = 20, 96
REPOSITORIES = 8
END = "toDateTime64('2026-06-16 00:00:00', 6, 'UTC')"
"""Every history ends on the same day of a month: an increment builds the months again that it touches."""
SOURCES = [{"name": name, "type": name} for name in ("langfuse", "github", "jira", "prometheus")]

_PROJECT = "['FLEET', 'PAY', 'MAPS', 'OPS'][i % 4 + 1]"
_INTERVAL = 86_400_000_000 // TICKETS_PER_DAY
_REPOSITORY = f"concat('acme/repo-', toString(i % {REPOSITORIES}))"
_HEAD, _MERGE = "hex(sipHash128('head', i))", "hex(sipHash128('merge', i))"
_BY_AGENT = "i % 4 != 0"
_AUTHOR = f"if({_BY_AGENT}, 'forge-coder', concat('dev-', toString(i % 50)))"
_TRACE = "concat(toString(i), '-', toString(n))"


def _after(hours: float) -> str:
    return f"born + toIntervalSecond({int(hours * 3600)})"


def _iso(moment: str) -> str:
    return f"formatDateTime({moment}, '%Y-%m-%dT%H:%i:%SZ')"


def _list(*objects: dict[str, str]) -> str:
    """A JSON array of objects; values are SQL of texts, but `id` is a number."""
    types = ", ".join(f"{name} {'Int64' if name == 'id' else 'String'}" for name in objects[0])
    values = ", ".join(f"({', '.join(one.values())})" for one in objects)
    return f"toJSONString(cast([{values}], 'Array(Tuple({types}))'))"


def _key(number: str) -> str:
    return f"concat(['FLEET', 'PAY', 'MAPS', 'OPS'][({number}) % 4 + 1], '-', toString(intDiv({number}, 4) + 1))"


_KEY = _key("i")


def _review(id_: int, state: str, hours: float) -> dict[str, str]:
    reviewer = "concat('dev-', toString((i + 1) % 50))"
    submitted = {"state": state, "submittedAt": _iso(_after(hours))}
    return {"id": str(id_), "author": reviewer, "authorType": "'User'", **submitted}


def _commit(oid: str, hours: float, message: str) -> dict[str, str]:
    at = _iso(_after(hours))
    return {"oid": oid, "authoredAt": at, "committedAt": at, "author": _AUTHOR, "message": f"'{message}'"}


_FIRST_VERDICT = "if(i % 3 = 0, 'CHANGES_REQUESTED', 'COMMENTED')"
_CAUSE = _list({"type": "'Problem/Incident'", "direction": "'inward'", "key": _key("i - 4")})
_NUMBER = f"intDiv(i, {REPOSITORIES}) + 1"
_IS_ROOT = f"n % {OBSERVATIONS_PER_TRACE} = 0"
_RUN = f"intDiv(n, {OBSERVATIONS_PER_TRACE})"


@dataclass(frozen=True)
class Entity:
    """Rows of one table, `times` a ticket (`n` counts them from 0); values are SQL over `i`, `n`, `born`, `later`."""

    source: str
    name: str
    times: int
    values: dict[str, str]


ENTITIES = (
    Entity(
        "jira",
        "issues",
        1,
        {
            "id": "toString(100000 + i)",
            "updated_at": f"{_after(40)} + toIntervalSecond(later)",
            "key": _KEY,
            "project_key": _PROJECT,
            "summary": "concat('Change number ', toString(i))",
            "issue_type": "['Story', 'Bug', 'Task', 'Story', 'Incident'][if(i % 60 = 0, 5, i % 4 + 1)]",
            "status": "'Done'",
            "status_category": "'done'",
            "resolution": "'Done'",
            "assignee_id": "concat('account-', toString(i % 50))",
            "assignee_name": f"{_AUTHOR}",
            "created_at": "born",
            "resolved_at": _after(40),
            **dict.fromkeys(
                ("labels", "components", "fix_versions", "affects_versions", "sprints", "comments"), "'[]'"
            ),
            "links": f"if(i % 60 = 0 and i > 0, {_CAUSE}, '[]')",
            "custom_fields": "'{}'",
        },
    ),
    Entity(
        "jira",
        "issue_changelogs",
        5,
        {
            "issue_id": "toString(100000 + i)",
            "history_id": "toString(i * 5 + n)",
            "created_at": "born + toIntervalHour(8 * n + 4)",
            "issue_key": _KEY,
            "author_id": "concat('account-', toString(i % 50))",
            "author_name": _AUTHOR,
            "field": "'status'",
            "field_id": "'status'",
            "from_string": "['To Do', 'Planning', 'Plan Review', 'In Progress', 'In Review'][n + 1]",
            "to_string": "['Planning', 'Plan Review', 'In Progress', 'In Review', 'Done'][n + 1]",
        },
    ),
    Entity(
        "github",
        "pull_requests",
        1,
        {
            "repository_id": f"1000 + i % {REPOSITORIES}",
            "number": _NUMBER,
            "updated_at": f"{_after(38)} + toIntervalSecond(later)",
            "repository": _REPOSITORY,
            "node_id": "concat('PR_', toString(i))",
            "created_at": _after(28),
            "closed_at": _after(38),
            "merged_at": _after(38),
            "title": f"concat({_KEY}, ': change number ', toString(i))",
            "body": f"concat('Implements ', {_KEY}, '.')",
            "state": "'MERGED'",
            "url": f"concat('https://github.example/', {_REPOSITORY}, '/pull/', toString({_NUMBER}))",
            "author_login": _AUTHOR,
            "author_type": f"if({_BY_AGENT}, 'Bot', 'User')",
            "merged_by_login": "concat('dev-', toString(i % 50))",
            "merged_by_type": "'User'",
            "head_ref": f"concat('forge/', {_KEY})",
            "base_ref": "'main'",
            "head_sha": _HEAD,
            "merge_commit_sha": _MERGE,
            "additions": "i % 300",
            "deletions": "i % 90",
            "changed_files": "i % 12 + 1",
            "commits_count": "2",
            "first_commit_at": _after(27),
            "reviews": _list(_review(1, _FIRST_VERDICT, 32), _review(2, "'APPROVED'", 36)),
            "commits": _list(_commit("hex(sipHash128('first', i))", 27, "Change"), _commit(_HEAD, 34, "Fix")),
            **dict.fromkeys(
                ("labels", "assignees", "requested_reviewers", "linked_issues", "comments", "events", "issue_keys"),
                "'[]'",
            ),
        },
    ),
    Entity(
        "github",
        "workflow_runs",
        2,
        {
            "repository_id": f"1000 + i % {REPOSITORIES}",
            "run_id": "i * 2 + n + 1",
            "updated_at": f"{_after(34.5)} + toIntervalSecond(later)",
            "repository": _REPOSITORY,
            "workflow_id": "n + 1",
            "name": "['lint', 'tests'][n + 1]",
            "event": "'pull_request'",
            "status": "'completed'",
            "conclusion": "if((i + n) % 9 = 0, 'failure', 'success')",
            "run_number": "i + 1",
            "run_attempt": "1",
            "head_branch": f"concat('forge/', {_KEY})",
            "head_sha": _HEAD,
            "created_at": _after(34.1),
            "run_started_at": _after(34.1),
            "actor_login": _AUTHOR,
            "pull_requests": f"concat('[', toString({_NUMBER}), ']')",
        },
    ),
    Entity(
        "github",
        "workflow_jobs",
        2,
        {
            "repository_id": f"1000 + i % {REPOSITORIES}",
            "job_id": "i * 2 + n + 1",
            "loaded_at": f"{_after(35)} + toIntervalSecond(later)",
            "repository": _REPOSITORY,
            "run_id": "i * 2 + n + 1",
            "run_attempt": "1",
            "name": "'job'",
            "status": "'completed'",
            "conclusion": "if((i + n) % 9 = 0, 'failure', 'success')",
            "created_at": _after(34.1),
            "started_at": _after(34.1),
            "completed_at": _after(34.4),
            "head_sha": _HEAD,
            "labels": "'[]'",
            "steps": "'[]'",
        },
    ),
    Entity(
        "github",
        "deployments",
        1,
        {
            "repository_id": f"1000 + i % {REPOSITORIES}",
            "deployment_id": "i + 1",
            "updated_at": f"{_after(39)} + toIntervalSecond(later)",
            "repository": _REPOSITORY,
            "environment": "'production'",
            "sha": _MERGE,
            "created_at": _after(38.5),
            "creator_login": "concat('dev-', toString(i % 50))",
            "creator_type": "'User'",
            "state": "'ACTIVE'",
            "payload": "'{}'",
            "statuses": _list({"state": "'success'", "createdAt": _iso(_after(39))}),
        },
    ),
    Entity(
        "langfuse",
        "traces",
        TRACES_PER_TICKET,
        {
            "project_id": "'forge'",
            "id": _TRACE,
            "updated_at": f"{_after(20)} + toIntervalSecond(later)",
            "created_at": "born + toIntervalHour(n * 9 + 1)",
            "timestamp": "born + toIntervalHour(n * 9 + 1)",
            "name": "concat('forge.', ['plan', 'implement', 'review_fix'][n + 1])",
            "session_id": _KEY,
            "user_id": "['forge-planner', 'forge-coder', 'forge-fixer'][n + 1]",
            "tags": "'[]'",
            "metadata": f'concat(\'{{"ticket":"\', {_KEY}, \'","stage":"\', '
            "['plan', 'implement', 'review_fix'][n + 1], '\"}')",
            "latency_seconds": "600",
        },
    ),
    Entity(
        "langfuse",
        "observations",
        TRACES_PER_TICKET * OBSERVATIONS_PER_TRACE,
        {
            "project_id": "'forge'",
            "id": "hex(sipHash128('observation', i, n))",
            "updated_at": f"{_after(20)} + toIntervalSecond(later)",
            "created_at": "start_time",
            "trace_id": f"concat(toString(i), '-', toString(intDiv(n, {OBSERVATIONS_PER_TRACE})))",
            "parent_observation_id": f"if({_IS_ROOT}, null, "
            f"hex(sipHash128('observation', i, toUInt64(n - n % {OBSERVATIONS_PER_TRACE}))))",
            "type": f"if({_IS_ROOT}, 'SPAN', 'GENERATION')",
            "name": "'step'",
            "level": "'DEFAULT'",
            "start_time": f"born + toIntervalHour({_RUN} * 9 + 1) + toIntervalSecond(n * 30)",
            "end_time": "start_time + toIntervalSecond(25)",
            "model": f"if({_IS_ROOT}, null, ['sonnet', 'haiku'][n % 2 + 1])",
            "usage_details": "'{}'",
            "cost_details": "'{}'",
            "input_tokens": f"if({_IS_ROOT}, null, 1000 + i % 500)",
            "output_tokens": f"if({_IS_ROOT}, null, 200 + n)",
            "total_cost": f"if({_IS_ROOT}, null, toDecimal128(n + 3100, 12) / 1000000)",
            "tags": "'[]'",
            "metadata": "'{}'",
        },
    ),
    Entity(
        "langfuse",
        "scores",
        TRACES_PER_TICKET,
        {
            "project_id": "'forge'",
            "id": _TRACE,
            "updated_at": f"{_after(20)} + toIntervalSecond(later)",
            "created_at": _after(20),
            "timestamp": _after(20),
            "name": "'judge_quality'",
            "source": "'EVAL'",
            "data_type": "'NUMERIC'",
            "value": "(i % 100) / 100",
            "trace_id": _TRACE,
            "metadata": "'{}'",
        },
    ),
)


def write(client: Client, tickets: int) -> int:
    """All of bronze for that many tickets and the samples of that time, one load a source. Gives the rows written."""
    for entity in ENTITIES:
        _insert(client, entity, f"numbers({tickets})", tickets, load=1)
    days = tickets // TICKETS_PER_DAY
    _samples(client, -days, days, load=1)
    for source in SOURCES:
        _complete(client, source["name"], load=1)
    return _rows(client, load=1)


def write_load(client: Client, tickets: int, load: int) -> int:
    """What an hour at the end of the history brings: new tickets, changes of recent ones and of a few old ones."""
    first = tickets + (load - 2) * 8
    new = f"numbers({first}, 8)"
    changed = f"(select number from numbers({tickets}) where number >= {tickets} - 40 and number % 2 = 0)"
    late = f"(select number from numbers({tickets}) where number in ({tickets} - 300, {tickets} - 301))"
    for entity in ENTITIES:
        for chosen in (new, changed, late):
            _insert(client, entity, chosen, tickets, load=load)
    _samples(client, 0, 1, load=load, steps=4)
    for source in SOURCES:
        _complete(client, source["name"], load=load)
    return _rows(client, load=load)


def _rows(client: Client, *, load: int) -> int:
    """Rows that a load wrote."""
    tables = (*(f"{entity.source}_{entity.name}" for entity in ENTITIES), "prometheus_series", "prometheus_samples")
    counts = (f"(select count() from bronze.{table} where _dlt_load_id = '{load}')" for table in tables)
    return int(client.query(f"select {' + '.join(counts)}").result_rows[0][0])


def _declared(source: str, name: str) -> dict[str, Any]:
    declared = yaml.safe_load((project_dir() / "models/staging/__sources.yml").read_text(encoding="utf-8"))
    (of,) = (one for one in declared["sources"] if one["name"] == source)
    (table,) = (one for one in of["tables"] if one["name"] == name)
    return dict(table)


def _create(client: Client, source: str, name: str) -> None:
    table = _declared(source, name)
    columns = ", ".join(f"`{column['name']}` {column['data_type']}" for column in table["columns"])
    meta = table["config"]["meta"]
    client.command("create database if not exists bronze")
    client.command(
        f"create table if not exists bronze.{source}_{name} ({columns}) "
        f"engine = ReplacingMergeTree({meta['version']}) order by ({', '.join(meta['key'])})"
    )


def _insert(client: Client, entity: Entity, chosen: str, tickets: int, *, load: int) -> None:
    _create(client, entity.source, entity.name)
    columns = [*entity.values, "_dlt_load_id"]
    values = ", ".join([*(f"{sql} as `{name}`" for name, sql in entity.values.items()), f"'{load}' as _dlt_load_id"])
    born = f"{END} + toIntervalMicrosecond((toInt64(i) - {tickets}) * {_INTERVAL})"
    client.command(
        f"insert into bronze.{entity.source}_{entity.name} ({', '.join(f'`{c}`' for c in columns)}) "
        f"select {values} from (select number as i, {born} as born, {(load - 1) * 3600} as later, n "
        f"from {chosen} array join range({entity.times}) as n)"
    )


def _samples(client: Client, day: int, days: int, *, load: int, steps: int = SAMPLES_PER_DAY) -> None:
    for name in ("series", "samples"):
        _create(client, "prometheus", name)
    at = f"{END} + toIntervalDay({day}) + toIntervalMinute(number * 15)"
    client.command(
        "insert into bronze.prometheus_series (fingerprint, last_seen_at, query, metric, labels, _dlt_load_id) "
        f"select toString(s), {END} + toIntervalDay({day + days}), 'forge', 'forge_queue_depth', '{{}}', '{load}' "
        f"from (select arrayJoin(range({SERIES})) as s)"
    )
    client.command(
        "insert into bronze.prometheus_samples (fingerprint, sampled_at, loaded_at, value, _dlt_load_id) "
        f"select toString(s), {at}, {at}, number % 17 + s, '{load}' "
        f"from numbers({days * steps}) array join range({SERIES}) as s"
    )


def _complete(client: Client, source: str, *, load: int) -> None:
    client.command(
        f"create table if not exists bronze.{source}__dlt_loads (load_id String, schema_name Nullable(String), "
        "status Int64, inserted_at DateTime64(6, 'UTC'), schema_version_hash Nullable(String)) order by load_id"
    )
    client.command(
        f"insert into bronze.{source}__dlt_loads (load_id, status, inserted_at) values ('{load}', 0, now64(6, 'UTC'))"
    )
