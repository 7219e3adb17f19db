"""Prometheus' remote-write request (version 1), written by hand: a protobuf message in snappy's block format.

message WriteRequest { repeated TimeSeries timeseries = 1; }
message TimeSeries { repeated Label labels = 1; repeated Sample samples = 2; }
message Label { string name = 1; string value = 2; }        message Sample { double value = 1; int64 timestamp = 2; }
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence

HEADERS = {
    "Content-Type": "application/x-protobuf",
    "Content-Encoding": "snappy",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}
_LITERAL = 1 << 16


def body(series: Iterable[tuple[Mapping[str, str], Sequence[tuple[int, float]]]]) -> bytes:
    """The body for (labels with __name__, [(Unix seconds, value)]) pairs."""
    return _snappy(b"".join(_field(1, _time_series(labels, samples)) for labels, samples in series))


def _time_series(labels: Mapping[str, str], samples: Sequence[tuple[int, float]]) -> bytes:
    # Prometheus wants labels in order of name.
    named = (_field(1, _field(1, k.encode()) + _field(2, v.encode())) for k, v in sorted(labels.items()))
    valued = (_field(2, b"\x09" + struct.pack("<d", value) + b"\x10" + _varint(at * 1000)) for at, value in samples)
    return b"".join(named) + b"".join(valued)


def _field(number: int, payload: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _snappy(data: bytes) -> bytes:
    """Valid snappy that compresses nothing: literals only."""
    chunks = (data[at : at + _LITERAL] for at in range(0, len(data), _LITERAL))
    return _varint(len(data)) + b"".join(b"\xf4" + struct.pack("<H", len(c) - 1) + c for c in chunks)
