"""A request's body: received whole before the engine sees it, in memory while small, in a file when large.

An INSERT whose client dies half-way must write nothing, so the engine starts when the last byte is there. What is kept
is what came over the wire; it is decompressed on the way into the engine, a piece at a time.
"""

import bz2
import io
import lzma
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import brotli  # type: ignore[import-untyped]
import lz4.frame  # type: ignore[import-untyped]
import zstandard
from starlette.types import Receive

from forge_store.errors import StoreError

IN_MEMORY = 1 << 20
PIECE = 1 << 20
# Less when compressed: a piece may grow a thousandfold.
COMPRESSED_PIECE = 64 << 10


class ClientGoneError(Exception):
    """The client went away before its request was complete."""


class _Zlib:
    """gzip with any number of members; deflate as zlib or raw."""

    def __init__(self, wbits: int) -> None:
        self._wbits = wbits
        self._codec = zlib.decompressobj(wbits)
        self.eof = False

    def decompress(self, data: bytes) -> bytes:
        out = []
        while data:
            if self._codec.eof:
                self._codec = zlib.decompressobj(self._wbits)
            out.append(self._codec.decompress(data))
            data = self._codec.unused_data
        self.eof = self._codec.eof
        return b"".join(out)


class _Frames:
    """zstd, lz4, xz and bz2: frames one after another."""

    def __init__(self, make: Any) -> None:
        self._make = make
        self._codec = make()
        self.eof = False

    def decompress(self, data: bytes) -> bytes:
        out = []
        while data:
            if self._codec.eof:
                self._codec = self._make()
            out.append(self._codec.decompress(data))
            data = (self._codec.unused_data or b"") if self._codec.eof else b""
        self.eof = self._codec.eof
        return b"".join(out)


class _Brotli:
    def __init__(self) -> None:
        self._codec = brotli.Decompressor()

    @property
    def eof(self) -> bool:
        return bool(self._codec.is_finished())

    def decompress(self, data: bytes) -> bytes:
        return bytes(self._codec.process(data))


def _decompressor(encoding: str) -> Any:
    match encoding:
        case "gzip" | "x-gzip" | "gz":
            return _Zlib(31)
        case "deflate":
            return _Zlib(15)
        case "br":
            return _Brotli()
        case "zstd":
            return _Frames(lambda: zstandard.ZstdDecompressor().decompressobj())
        case "lz4":
            return _Frames(lz4.frame.LZ4FrameDecompressor)
        case "xz":
            return _Frames(lzma.LZMADecompressor)
        case "bz2":
            return _Frames(bz2.BZ2Decompressor)
    raise StoreError(
        89,
        "UNKNOWN_COMPRESSION_METHOD",
        f"Content-Encoding {encoding}: gzip, deflate, br, zstd, lz4, xz or bz2 is wanted",
    )


class Body:
    """A body as it came, and its decompressed pieces."""

    def __init__(self, folder: Path, encoding: str) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY, dir=str(folder))  # noqa: SIM115
        self._encoding = "" if encoding in ("", "identity") else encoding
        self.size = 0
        if self._encoding:
            _decompressor(self._encoding)

    async def receive(self, receive: Receive) -> None:
        """Takes the whole body in; ClientGoneError if it ends early."""
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            chunk = message.get("body", b"")
            self.size += len(chunk)
            self._file.write(chunk)
            more = message.get("more_body", False)

    def pieces(self) -> Iterator[bytes]:
        """The decompressed body from its beginning; StoreError 271 when it is damaged or cut off."""
        self._file.seek(0)
        codec = _decompressor(self._encoding) if self._encoding else None
        while piece := self._file.read(COMPRESSED_PIECE if codec else PIECE):
            if codec:
                try:
                    piece = codec.decompress(piece)
                except (
                    zlib.error,
                    lzma.LZMAError,
                    zstandard.ZstdError,
                    brotli.error,
                    RuntimeError,
                    OSError,
                    EOFError,
                ) as error:
                    raise StoreError(271, "CANNOT_DECOMPRESS", f"The body is not {self._encoding}: {error}") from None
            if piece:
                yield piece
        if codec and self.size and not codec.eof:
            raise StoreError(271, "CANNOT_DECOMPRESS", f"The {self._encoding} body ends too early")

    def close(self) -> None:
        """Gives the memory or the file back."""
        self._file.close()


class Text:
    """The decompressed body from whose beginning a statement is taken, piece by piece."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._taken = io.BytesIO()
        self.complete = False

    def take(self, size: int) -> bytes:
        """The first `size` bytes or a little more; `complete` says whether that is all there is."""
        while not self.complete and self._taken.tell() < size:
            piece = next(self._pieces, None)
            if piece is None:
                self.complete = True
            else:
                self._taken.write(piece)
        return self._taken.getvalue()

    def after(self, at: int) -> Iterator[bytes]:
        """All that follows the first `at` bytes."""
        first = self._taken.getvalue()[at:]
        if first:
            yield first
        yield from self._pieces
