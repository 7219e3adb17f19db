"""Bronze tables as code: columns, keys and versions of what a load writes (docs/architecture.md, "A load")."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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


@dataclass(frozen=True)
class Table:
    """A bronze table: the key columns come first and in key order, because ORDER BY is made of them."""

    name: str
    schema: pa.Schema
    key: tuple[str, ...]
    version: str

    def __post_init__(self) -> None:
        """Refuse a table whose ORDER BY would not be its key."""
        if tuple(self.schema.names[: len(self.key)]) != self.key:
            raise ValueError(f"{self.name}: the columns must begin with the key {self.key}")
        if any(self.schema.field(name).nullable for name in (*self.key, self.version)):
            raise ValueError(f"{self.name}: key and version must not be null")

    def page(self, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
        """Rows as an Arrow page.

        Raises LoadError (SchemaViolation) that names the row's key and the column whose value does not fit.
        """
        listed = [dict(row) for row in rows]
        try:
            page = pa.Table.from_pylist(listed, schema=self.schema)
            page.validate()
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError, TypeError) as error:
            raise self._misfit(listed, error) from error
        for field in self.schema:
            if not field.nullable and page.column(field.name).null_count:
                raise self._misfit(listed, ValueError("null"))
        return page

    def empty(self) -> pa.Table:
        """A page without rows: it makes the table exist."""
        return self.schema.empty_table()

    def _misfit(self, rows: list[dict[str, Any]], error: Exception) -> LoadError:
        for row in rows:
            for field in self.schema:
                value = row.get(field.name)
                fits = field.nullable if value is None else _fits(value, field.type)
                if not fits:
                    where = ", ".join(f"{name}={row.get(name)!r}" for name in self.key)
                    return LoadError(
                        "SchemaViolation",
                        f"{self.name}: column {field.name} of the row with {where} must be {field.type}"
                        f"{'' if field.nullable else ' and not null'}, but is {str(value)[:80]!r}; the load stopped "
                        "before this page, nothing is lost: correct the value in the source, or report the payload",
                    )
        return LoadError("SchemaViolation", f"{self.name}: a page does not fit its columns: {error}")


def _fits(value: Any, kind: pa.DataType) -> bool:
    try:
        pa.array([value], type=kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError, TypeError):
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


def iso(value: datetime) -> str:
    """A moment as RFC 3339 in UTC, microseconds only where there are some."""
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
