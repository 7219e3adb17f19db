"""Bronze tables as code: columns, keys and versions of what a load writes (docs/architecture.md, "A load")."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any

import orjson
import pyarrow as pa  # type: ignore[import-untyped]

from forge_pipelines.problems import LoadError

TEXT = pa.string()
INTEGER = pa.int64()
SMALL_INTEGER = pa.int32()
NUMBER = pa.float64()
FLAG = pa.bool_()
DAY = pa.date32()
MONEY = pa.decimal128(38, 12)
MOMENT = pa.timestamp("us", tz="UTC")
JSON = pa.string()

UNFIT = (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError, TypeError, ValueError)
"""What Arrow raises for a value that is not of its column's type (half a surrogate pair is a ValueError)."""


@dataclass(frozen=True)
class Misfit:
    """An answer that makes no row of its table: which column, what is wrong, and the answer itself as JSON."""

    table: str
    column: str
    problem: str
    payload: str


@dataclass(frozen=True)
class Table:
    """A bronze table: the key columns come first and in key order, because ORDER BY is made of them.

    `computed`: columns that the store makes of others when they are read (name, ClickHouse type and ALIAS expression);
    no row carries them, and `select *` leaves them out.
    """

    name: str
    schema: pa.Schema
    key: tuple[str, ...]
    version: str
    computed: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        """Refuse a table whose ORDER BY would not be its key."""
        if tuple(self.schema.names[: len(self.key)]) != self.key:
            raise ValueError(f"{self.name}: the columns must begin with the key {self.key}")
        if any(self.schema.field(name).nullable for name in (*self.key, self.version)):
            raise ValueError(f"{self.name}: key and version must not be null")

    def page(self, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
        """Rows of our own making as an Arrow page. Raises LoadError (SchemaViolation) when one does not fit."""
        page, misfits = self.sorted_out(rows)
        if misfits:
            raise LoadError("SchemaViolation", f"{self.name}: {misfits[0].column}: {misfits[0].problem}")
        return page

    def sorted_out(
        self, answers: Iterable[Any], to_row: Callable[[Any], Mapping[str, Any]] = dict
    ) -> tuple[pa.Table, list[Misfit]]:
        """The rows that answers make, as an Arrow page, and what is wrong with the answers that make none."""
        rows: list[dict[str, Any]] = []
        sources: list[Any] = []
        misfits: list[Misfit] = []
        for answer in answers:
            try:
                rows.append(dict(to_row(answer)))
                sources.append(answer)
            except (LoadError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
                misfits.append(Misfit(self.name, "", f"{type(error).__name__}: {error}"[:300], payload(answer)))
        page = self._arrow(rows)
        if page is None:
            fitting = []
            for row, answer in zip(rows, sources, strict=True):
                if (found := self._misfit(row)) is None:
                    fitting.append(row)
                else:
                    misfits.append(Misfit(self.name, *found, payload(answer)))
            page = self._arrow(fitting)
            if page is None:
                raise LoadError("SchemaViolation", f"{self.name}: a page does not fit its columns")
        return page, misfits

    def _arrow(self, rows: list[dict[str, Any]]) -> pa.Table | None:
        try:
            page = pa.Table.from_pylist(rows, schema=self.schema)
            page.validate()
        except UNFIT:
            return None
        fits = all(field.nullable or not page.column(field.name).null_count for field in self.schema)
        return page if fits else None

    def empty(self) -> pa.Table:
        """A page without rows: it makes the table exist."""
        return self.schema.empty_table()

    def _misfit(self, row: Mapping[str, Any]) -> tuple[str, str] | None:
        """The first column whose value does not fit, and what it must be; None when all do."""
        for field in self.schema:
            value = row.get(field.name)
            if not (field.nullable if value is None else _fits(value, field.type)):
                must = f"{field.type}{'' if field.nullable else ' and not null'}"
                return field.name, f"must be {must}, but is {str(value)[:80]!r}"
        return None


def _fits(value: Any, kind: pa.DataType) -> bool:
    try:
        pa.array([value], type=kind)
    except UNFIT:
        return False
    return True


def required(name: str, kind: pa.DataType) -> pa.Field:
    """A column that is never null."""
    return pa.field(name, kind, nullable=False)


def optional(name: str, kind: pa.DataType) -> pa.Field:
    """A column that may be null."""
    return pa.field(name, kind, nullable=True)


def moment(value: str | None) -> datetime | None:
    """An ISO 8601 time as an aware UTC moment; a time without zone is UTC. Raises LoadError (BadResponse)."""
    return _moment(value) if value else None


@lru_cache(maxsize=4096)
def _moment(value: str) -> datetime:
    try:
        parsed = datetime.fromisoformat(value)
    except (ValueError, TypeError) as error:
        raise LoadError("BadResponse", f"the source gave {value!r} where a time (ISO 8601) is expected") from error
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)


def day(value: str | None) -> date | None:
    """An ISO 8601 date. Raises LoadError (BadResponse)."""
    if not value:
        return None
    try:
        return date.fromisoformat(value[:10])
    except ValueError as error:
        raise LoadError("BadResponse", f"the source gave {value!r} where a date (YYYY-MM-DD) is expected") from error


def money(value: Any) -> Decimal | None:
    """An amount as Decimal(38, 12), by its decimal text, so that no binary fraction is added."""
    if value is None:
        return None
    try:
        amount = Decimal(repr(value) if isinstance(value, float) else str(value)).quantize(Decimal("1e-12"))
        if not amount.is_finite():
            raise InvalidOperation
        return amount
    except InvalidOperation as error:
        raise LoadError("BadResponse", f"the source gave {str(value)[:80]!r} where an amount is expected") from error


def whole(value: Any) -> int | None:
    """A number that counts something; None stays None."""
    return None if value is None else int(value)


def json_text(value: Any) -> str:
    """A value as compact JSON text."""
    return orjson.dumps(value).decode()


def payload(answer: Any) -> str:
    """An answer as JSON, or, when it holds what JSON cannot say, as Python shows it."""
    try:
        return json_text(answer)
    except TypeError:
        return ascii(answer)


def iso(value: datetime) -> str:
    """A moment as RFC 3339 in UTC, microseconds only where there are some."""
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


DELETIONS = Table(
    name="deletions",
    schema=pa.schema(
        [
            required("entity", TEXT),
            required("entity_key", JSON),
            required("deleted_at", MOMENT),
            required("reason", TEXT),
        ]
    ),
    key=("entity", "entity_key"),
    version="deleted_at",
)
"""Rows that the source has no more, found by comparing ids: `entity` is the table, `entity_key` a JSON array of its key
columns, `deleted_at` when it was found missing, `reason` is deleted, moved, expired (by the source's retention: silver
keeps it) or returned (a row that came back)."""

REJECTED_ROWS = Table(
    name="rejected_rows",
    schema=pa.schema(
        [
            required("entity", TEXT),
            required("payload_hash", TEXT),
            required("rejected_at", MOMENT),
            required("column_name", TEXT),
            required("problem", TEXT),
            required("payload", JSON),
        ]
    ),
    key=("entity", "payload_hash"),
    version="rejected_at",
)
"""Answers that make no row of their table, kept whole: nothing is dropped silently."""

LOAD_RUNS = Table(
    name="load_runs",
    schema=pa.schema(
        [
            required("started_at", MOMENT),
            required("finished_at", MOMENT),
            required("outcome", TEXT),
            optional("window_start", MOMENT),
            optional("window_end", MOMENT),
            required("rows", JSON),
            required("requests", INTEGER),
            required("retries", INTEGER),
            required("waited_seconds", NUMBER),
            required("bytes_read", INTEGER),
            required("rejected_rows", INTEGER),
            required("warnings", JSON),
            optional("error_reason", TEXT),
            optional("error_message", TEXT),
            optional("cursor", TEXT),
            optional("newest_event_at", MOMENT),
        ]
    ),
    key=("started_at",),
    version="finished_at",
)
"""The loads themselves, one row each that reached the store, with nothing new or failed too: metrics of the runs."""

WITH_ROWS = (DELETIONS, REJECTED_ROWS)
"""Tables of every source that are written with its own, in the same packages."""

COMMON = (*WITH_ROWS, LOAD_RUNS)
"""Tables that every source has beside its own."""


def deletion(table: Table, key: Iterable[Any], now: datetime, reason: str = "deleted") -> dict[str, Any]:
    """A row of DELETIONS: the row of `table` with this key is not in the source any more."""
    return {"entity": table.name, "entity_key": json_text(list(key)), "deleted_at": now, "reason": reason}


def rejection(misfit: Misfit, now: datetime) -> dict[str, Any]:
    """A row of REJECTED_ROWS: the same answer is kept once, however often it is read."""
    return {
        "entity": misfit.table,
        "payload_hash": hashlib.blake2b(misfit.payload.encode(), digest_size=16).hexdigest(),
        "rejected_at": now,
        "column_name": misfit.column,
        "problem": misfit.problem,
        "payload": misfit.payload,
    }
