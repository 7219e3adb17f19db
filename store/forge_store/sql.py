"""What must be known of a statement before the engine sees it: its words, where an INSERT's data begin, its output format.

The words are ClickHouse's (its Lexer.cpp): comments, strings, quoted names and heredocs are told apart, nothing more.
"""

import re
from dataclasses import dataclass

from forge_store.errors import StoreError

_WORD = re.compile(
    r"""
      (?P<space> (?:\s | --[^\n]* | \#[\ !][^\n]* | /\*.*?\*/ )+ )
    | (?P<string> '[^'\\]*(?:(?:\\.|'')[^'\\]*)*' | \u2018[^\u2019]*\u2019 )
    | (?P<name> `[^`\\]*(?:(?:\\.|``)[^`\\]*)*` | "[^"\\]*(?:(?:\\.|"")[^"\\]*)*" | \u201c[^\u201d]*\u201d )
    | (?P<heredoc> \$(?P<tag>\w*)\$.*?\$(?P=tag)\$ )
    | (?P<word> [A-Za-z0-9_][\w$]* )
    | (?P<sign> . )
    """,
    re.VERBOSE | re.DOTALL,
)


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


def tokens(text: str) -> list[Token]:
    """The words of a text, without spaces and comments."""
    found = []
    for match in _WORD.finditer(text):
        kind = match.lastgroup or "sign"
        if kind == "tag":
            kind = "heredoc"
        if kind != "space":
            found.append(Token(kind, match.group(), match.start(), match.end()))
    return found


@dataclass(frozen=True)
class Insert:
    """An INSERT whose data come apart from its text: the engine reads `data` (then the body) in `format`."""

    head: str
    format: str | None
    data_at: int


def split_insert(text: str, *, complete: bool) -> Insert | None:
    """The head of an INSERT with data and where in `text` they begin; None for any other statement.

    `text` may be only the beginning of a long one (`complete` false). INSERT ... SELECT is another statement.
    """
    words = tokens(text)
    if not words or not words[0].says("INSERT"):
        return None
    depth = 0
    for index, word in enumerate(words):
        depth += (word.text in "([{") - (word.text in ")]}") if word.kind == "sign" else 0
        if depth:
            continue
        following = words[index + 1] if index + 1 < len(words) else None
        if word.says("SELECT", "WITH") and index > 1 and not words[index - 1].says("INTO", "TABLE"):
            return None
        if word.says("FROM") and following and following.says("INFILE"):
            raise StoreError(
                344, "SUPPORT_IS_DISABLED", "FROM INFILE reads files of the server: send the data in the body"
            )
        if word.says("VALUES") and index > 2:
            return Insert(text[: word.start], "Values", word.end)
        if word.says("FORMAT") and index > 1 and following and following.kind == "word":
            return _with_format(text, words, index, following)
    end = len(text)
    if words[-1].text == ";":
        end = words[-1].start
    return Insert(text[:end], None, len(text)) if complete else None


def _with_format(text: str, words: list[Token], index: int, name: Token) -> Insert:
    head = text[: words[index].start]
    if name.says("VALUES"):
        return Insert(head, "Values", name.end)
    at = name.end
    # As ClickHouse's parser: spaces up to and with one line end are not data.
    blank = re.compile(r"[ \t\r\f\v]*;?[ \t\r\f\v]*\n?").match(text, at)
    return Insert(head, name.text, blank.end() if blank else at)


@dataclass(frozen=True)
class Output:
    """A statement with a result: its text around the place of INTO OUTFILE, and the format it names itself."""

    body: str
    tail: str
    format: str | None

    def into(self, path: str, form: str, compression: str) -> str:
        """The same statement, whose result the engine writes to `path`."""
        return f"{self.body}\nINTO OUTFILE '{path}' APPEND COMPRESSION '{compression}' FORMAT {form} {self.tail}"


def output_of(text: str, words: list[Token]) -> Output:
    """Takes the FORMAT clause off a statement's end, so that its result may be sent elsewhere."""
    if words and words[-1].text == ";":
        words = words[:-1]
    end = words[-1].end if words else 0
    depth = 0
    for index in range(len(words) - 1, 0, -1):
        word = words[index]
        if word.kind == "sign":
            depth += (word.text in ")]}") - (word.text in "([{")
        elif depth == 0 and words[index - 1].says("FORMAT") and word.kind == "word" and index > 1:
            after = words[index + 1] if index + 1 < len(words) else None
            if after is None or after.says("SETTINGS"):
                return Output(text[: words[index - 1].start], text[word.end : end], word.text)
    return Output(text[:end], "", None)


def unquoted(name: Token) -> str:
    """A quoted name without its quotes."""
    quote = name.text[0]
    return re.sub(r"\\(.)", r"\1", name.text[1:-1].replace(quote * 2, quote))


def quoted(text: str) -> str:
    """A string literal."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def quoted_name(text: str) -> str:
    """A quoted name."""
    return "`" + text.replace("\\", "\\\\").replace("`", "\\`") + "`"
