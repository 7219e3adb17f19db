"""What must be known of a statement before the engine sees it: its words, where an INSERT's data begin, its format.

The words are ClickHouse's (its Lexer.cpp): comments, strings, quoted names and heredocs are told apart, nothing more.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_WORD = re.compile(
    r"""
      (?P<space> (?:[\s\u180e\u200b-\u200d\u2060\ufeff] | --[^\n]* | \#[\ !][^\n]* | /\*.*?\*/ )+ )
    | (?P<string> '[^'\\]*(?:(?:\\.|'')[^'\\]*)*' | \u2018[^\u2019]*\u2019 )
    | (?P<name> `[^`\\]*(?:(?:\\.|``)[^`\\]*)*` | "[^"\\]*(?:(?:\\.|"")[^"\\]*)*" | \u201c[^\u201d]*\u201d )
    | (?P<heredoc> \$(?P<tag>\w*)\$.*?\$(?P=tag)\$ )
    | (?P<word> [A-Za-z0-9_][\w$]* )
    | (?P<sign> . )
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(x[0-9A-Fa-f]{2}|.)", re.DOTALL)
# ClickHouse's parser: after the format's name, spaces up to and with one line end are not data.
_BEFORE_DATA = re.compile(r"[ \t\r\f\v]*;?[ \t\r\f\v]*\n?")


@dataclass(frozen=True, slots=True)
class Token:
    """One word of a statement; `start` and `end` are positions in its text."""

    kind: str
    text: str
    start: int
    end: int

    def says(self, *words: str) -> bool:
        """Whether this is one of these keywords, in any case."""
        return self.kind == "word" and self.text.upper() in words

    @property
    def name(self) -> str:
        """What a name names: a word as it stands, a quoted name without its quotes."""
        if self.kind != "name":
            return self.text
        quote = self.text[0]
        return _ESCAPE.sub(_unescaped, self.text[1:-1].replace(quote * 2, quote))


def _unescaped(escape: re.Match[str]) -> str:
    text = escape.group(1)
    return chr(int(text[1:], 16)) if len(text) == 3 else text


def scan(text: str) -> Iterator[Token]:
    """The words of a text one by one, without spaces and comments."""
    for match in _WORD.finditer(text):
        kind = match.lastgroup or "sign"
        if kind != "space":
            yield Token("heredoc" if kind == "tag" else kind, match.group(), match.start(), match.end())


@dataclass(frozen=True)
class Insert:
    """An INSERT whose data come apart from its head: they begin at `data_at`, in `format` if it names one."""

    head: str
    format: str | None
    data_at: int


def split_insert(text: str, *, complete: bool) -> Insert | None:
    """The head of an INSERT with data and where in `text` they begin; None for any other statement.

    `text` may be only the beginning of a long one (`complete` false): None too when the head does not end in it.
    INSERT ... SELECT is another statement.
    """
    depth, words = 0, 0
    before = last = Token("sign", "", 0, 0)
    for word in scan(text):
        if words == 0 and not word.says("INSERT"):
            return None
        if word.kind == "sign":
            depth += (word.text in "([{") - (word.text in ")]}")
        elif depth == 0 and words > 1 and not last.says("INTO", "TABLE") and last.text != ".":
            if last.says("FORMAT") and not before.says("INTO", "TABLE") and before.text != ".":
                if word.end == len(text) and not complete:
                    return None
                name = "Values" if word.says("VALUES") else word.text
                blank = None if name == "Values" else _BEFORE_DATA.match(text, word.end)
                return Insert(text[: last.start], name, blank.end() if blank else word.end)
            if word.says("SELECT", "WITH", "FROM"):
                return None
            if word.says("VALUES"):
                return Insert(text[: word.start], "Values", word.end)
        before, last, words = last, word, words + 1
    if not complete or not words:
        return None
    return Insert(text[: last.start if last.text == ";" else last.end], None, len(text))


@dataclass(frozen=True)
class Output:
    """A statement with a result, its FORMAT clause taken off: the text before it, after it, and the format it names."""

    body: str
    tail: str
    format: str | None

    def into(self, path: str, form: str, compression: str) -> str:
        """The same statement, whose result the engine writes to `path`."""
        return f"{self.body}\nINTO OUTFILE '{path}' TRUNCATE COMPRESSION '{compression}' FORMAT {form} {self.tail}"


def output_of(text: str, words: list[Token]) -> Output:
    """Takes the FORMAT clause off a statement's end, so that its result may be sent elsewhere."""
    if words and words[-1].text == ";":
        words = words[:-1]
    end = words[-1].end if words else 0
    depth = 0
    for index in range(len(words) - 1, 1, -1):
        word = words[index]
        if word.kind == "sign":
            depth += (word.text in ")]}") - (word.text in "([{")
        elif depth == 0 and words[index - 1].says("FORMAT") and word.kind == "word":
            after = words[index + 1] if index + 1 < len(words) else None
            if after is None or after.says("SETTINGS"):
                return Output(text[: words[index - 1].start], text[word.end : end], word.text)
    return Output(text[:end], "", None)


def quoted(text: str) -> str:
    """A string literal."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def quoted_name(text: str) -> str:
    """A quoted name."""
    return "`" + text.replace("\\", "\\\\").replace("`", "\\`") + "`"
