"""ClickHouse's errors: code, name, text, and the HTTP status that carries them."""

import re

_CODE = re.compile(r"Code: (\d+)\. DB::Exception: ")
_STATUS = {
    194: 401,
    **dict.fromkeys((192, 193, 497, 512, 516), 403),
    **dict.fromkeys((6, 8, 15, 25, 26, 27, 36, 37, 38, 41, 44, 53, 62, 72, 117, 123), 400),
    **dict.fromkeys((167, 168, 223, 321, 376, 427, 441, 675, 676), 400),
    **dict.fromkeys((46, 47, 50, 56, 60, 63, 73, 78, 81, 115, 152, 336, 511), 404),
    48: 501,
    159: 408,
    229: 413,
    **dict.fromkeys((76, 202, 209, 439), 503),
    381: 411,
    779: 415,
}


class StoreError(Exception):
    """An error in ClickHouse's terms.

    `code` and `name` are those of ClickHouse's `ErrorCodes.cpp`; `text` is the whole line that a client reads.
    """

    def __init__(self, code: int, name: str, message: str) -> None:
        self.code = code
        self.text = f"Code: {code}. DB::Exception: {message} ({name})"
        super().__init__(self.text)

    @classmethod
    def of_engine(cls, raised: BaseException) -> "StoreError":
        """The engine's own error: it raises RuntimeError whose text begins with the code."""
        text = str(raised).strip()
        found = _CODE.search(text)
        error = cls(1002, "UNKNOWN_EXCEPTION", text)
        if found:
            error.code = int(found.group(1))
            text = text[found.start() :]
            # The engine wraps its own message when it comes from a parallel parser: one prefix says it.
            while text.startswith(found.group(0) * 2):
                text = text[len(found.group(0)) :]
            error.text = text
            error.args = (text,)
        return error


def http_status(code: int) -> int:
    """The status ClickHouse answers with: see `exceptionCodeToHTTPStatus` in its source.

    One difference: 202 (too many queries) is 503 here, which clients retry, where ClickHouse says 500.
    """
    return _STATUS.get(code, 500)
