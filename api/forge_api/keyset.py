"""Keyset pagination: a page begins after the last row of the one before, found by its sort key, never by an offset.

Rows are ordered by a tuple of columns whose last one is unique, nulls last in either direction. The token of a page
holds the last row's values and a fingerprint of the question, so that it cannot be used with other filters.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from sqlalchemy import ColumnElement, and_, false, or_

from forge_api.tables import Day, Money, UtcDateTime

MONEY_LIMIT = Decimal(10) ** 26
INTEGER_LIMIT = 2**63


class InvalidTokenError(ValueError):
    """The `next` token was not made by this API, or belongs to other filters or another order."""


@dataclass(frozen=True)
class SortKey:
    """One column of the order."""

    column: Any
    """A column of a table or of a subquery, where a sum stands that is never null."""
    descending: bool = False

    @property
    def nullable(self) -> bool:
        """Whether the column may be null."""
        return bool(getattr(self.column, "nullable", False))

    def clause(self) -> ColumnElement[Any]:
        """The element of ORDER BY, nulls last."""
        ordered = self.column.desc() if self.descending else self.column.asc()
        clause: ColumnElement[Any] = ordered.nulls_last() if self.nullable else ordered
        return clause

    def after(self, value: Any) -> ColumnElement[bool]:
        """Rows that this column alone puts after `value`."""
        if value is None:  # nothing comes after the nulls
            return false()
        beyond: ColumnElement[bool] = self.column < value if self.descending else self.column > value
        return or_(beyond, self.column.is_(None)) if self.nullable else beyond

    def equal(self, value: Any) -> ColumnElement[bool]:
        """Rows that this column does not tell from `value`."""
        same: ColumnElement[bool] = self.column.is_(None) if value is None else self.column == value
        return same


def after(keys: Sequence[SortKey], values: Sequence[Any]) -> ColumnElement[bool]:
    """The rows after the one with these sort values, in the order of `keys`."""
    branches = []
    for depth, (key, value) in enumerate(zip(keys, values, strict=True)):
        if key.nullable and value is None:
            continue
        equals = [k.equal(v) for k, v in zip(keys[:depth], values[:depth], strict=True)]
        branches.append(and_(*equals, key.after(value)))
    return or_(*branches)


def fingerprint(question: Mapping[str, Any]) -> str:
    """A short name of the filters and the order; the page size is no part of it."""
    canonical = json.dumps(question, sort_keys=True, default=str, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def encode(keys: Sequence[SortKey], row: Mapping[str, Any], question: Mapping[str, Any]) -> str:
    """The token of the page after `row`."""
    values = [_plain(row[key.column.name]) for key in keys]
    content = json.dumps([fingerprint(question), values], ensure_ascii=False, separators=(",", ":"))
    return base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")


def decode(keys: Sequence[SortKey], token: str, question: Mapping[str, Any]) -> list[Any]:
    """The sort values in `token`; raises InvalidTokenError."""
    try:
        content = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        made_for, values = content
        if len(values) != len(keys):
            raise ValueError
        typed = [_typed(key, value) for key, value in zip(keys, values, strict=True)]
    except (ValueError, TypeError, OverflowError, InvalidOperation, binascii.Error, RecursionError):
        raise InvalidTokenError("it is not a token of this API: pass `next` of the page before, unchanged") from None
    if made_for != fingerprint(question):
        raise InvalidTokenError("it belongs to other filters or another order: repeat the question it came from")
    return typed


def _plain(value: Any) -> Any:
    if isinstance(value, date):  # a datetime is one
        return value.isoformat()
    return format(value, "f") if isinstance(value, Decimal) else value


def _typed(key: SortKey, value: Any) -> Any:
    """The value as the column's Python type. A token may be forged: what no column can hold is refused here."""
    column = key.column
    if value is None:
        if key.nullable:
            return None
        raise ValueError
    if isinstance(column.type, Day):
        day = date.fromisoformat(value)
        if not 1970 <= day.year < 2149:
            raise ValueError
        return day
    if isinstance(column.type, UtcDateTime):
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None or not 1900 <= moment.year < 2300:
            raise ValueError
        return moment
    if isinstance(column.type, Money):
        amount = Decimal(str(value))
        exponent = amount.as_tuple().exponent
        # Written out, 1e-999999999 would be a gigabyte of zeros.
        if not isinstance(exponent, int) or abs(amount) >= MONEY_LIMIT or not -12 <= exponent <= 26:
            raise ValueError
        return amount
    expected = column.type.python_type
    if expected is float and isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    if expected is int and type(value) is int and -INTEGER_LIMIT <= value < INTEGER_LIMIT:
        return value
    if expected is bool and isinstance(value, bool):
        return value
    if expected is str and isinstance(value, str) and "\x00" not in value:
        return value
    raise ValueError
