"""What no user may do: reach the server's files, programs, memory or network through SQL.

chDB gives its one user every right and knows no `user_files` folder, so what a server's grants would refuse is refused
here, by the statement's words: table functions, table and database engines and dictionary sources pass only if they
work on the store's own data. The lists of names come from the engine, so that a newer engine's new source is refused
until it is listed here.
"""

import re
from collections.abc import Iterable

from forge_store.errors import StoreError
from forge_store.sql import Token, scan


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


FUNCTIONS = _names("""
    cluster clusterallreplicas dictionary format fuzzjson generaterandom generateseries generate_series input loop
    merge mergetreeanalyzeindexes mergetreeanalyzeindexesuuid mergetreecodecblockcounts mergetreeindex
    mergetreeprojection mergetreetextindex null numbers numbers_mt primes prometheusquery prometheusqueryrange
    sqlstandardvalues timeseriesdata timeseriesmetricfamilies timeseriesmetrics timeseriessamples timeseriesselector
    timeseriestags values view viewexplain viewifpermitted zeros zeros_mt
""")
ENGINES = _names("""
    aggregatingmergetree alias atomic buffer coalescingmergetree collapsingmergetree dictionary distributed fuzzjson
    generaterandom graphitemergetree join keepermap log loop materializedview memory merge mergetree null ordinary
    replacingmergetree replicated replicatedaggregatingmergetree replicatedcoalescingmergetree
    replicatedcollapsingmergetree replicatedgraphitemergetree replicatedmergetree replicatedreplacingmergetree
    replicatedsummingmergetree replicatedversionedcollapsingmergetree set stripelog summingmergetree timeseries tinylog
    versionedcollapsingmergetree view
""")
SOURCES = _names("clickhouse null")
# Functions of these names that no list of sources holds.
FUNCTIONS_REFUSED = _names("file disk python eval catboostevaluate")
SYSTEM_REFUSED = ("SHUTDOWN", "KILL", "SUSPEND")
# Settings that name files of the server, by how they begin.
SETTINGS_REFUSED = ("format_schema", "format_template_", "disk", "google_adc", "custom_cached_disks")


class Guard:
    """Refuses statements by their words, with StoreError 344."""

    def __init__(self, known: Iterable[str]) -> None:
        """`known`: every table function, engine and dictionary source that the engine has."""
        self._refused = ({name.lower() for name in known} - FUNCTIONS - ENGINES - SOURCES) | FUNCTIONS_REFUSED
        names = b"|".join(name.encode() for name in sorted(self._refused))
        # What a list of values must not hold outside its strings; a quoted name may hide one of the names.
        self._suspicious = re.compile(rb"\b(?:" + names + rb")\b|`|[\"\x9d]\s*(?:\(|/\*|--|#)", re.IGNORECASE)

    def check(self, words: list[Token]) -> None:
        """Refuses a statement that reaches outside the store."""
        first = words[0].text.upper() if words else ""
        if first in ("BACKUP", "RESTORE"):
            raise _refusal(f"{first}: copy the data by SELECT and INSERT, or the volume by a snapshot")
        creates = first in ("CREATE", "REPLACE", "ATTACH")
        dictionary = creates and any(word.says("DICTIONARY") for word in words[:4])
        for index, word in enumerate(words):
            after = words[index + 1] if index + 1 < len(words) else None
            if after and after.text == "(" and word.kind in ("word", "name"):
                self._check_call(word, words[index - 1] if index else None, creates=creates)
            elif word.says("ENGINE"):
                self._check_engine(words[index + 1 : index + 3])
            elif word.says("INTO") and after and after.says("OUTFILE"):
                raise _refusal("INTO OUTFILE writes files of the server: the result comes in the response")
            elif word.says("INFILE") and words[index - 1].says("FROM"):
                raise _refusal("FROM INFILE reads files of the server: send the data in the body")
            elif first == "SYSTEM" and index == 1 and word.says(*SYSTEM_REFUSED):
                raise _refusal(f"SYSTEM {word.text.upper()}")
            elif first == "ATTACH" and word.says("FROM"):
                raise _refusal("ATTACH ... FROM a folder")
            elif after and after.text == "=" and word.kind in ("word", "name"):
                self.check_setting(word.name)
            elif dictionary and word.kind in ("string", "heredoc"):
                # A dictionary's query stands in a string.
                self.check(list(scan(re.sub(r"\\(.)", r"\1", word.text).strip("'$"))))

    def check_setting(self, name: str) -> None:
        """Refuses settings that name files of the server."""
        if name.lower().startswith(SETTINGS_REFUSED):
            raise _refusal(f"the setting {name} names a file or disk of the server")

    def suspects(self, values: Iterable[bytes]) -> bool:
        """Whether the data of an INSERT ... VALUES, whose expressions are evaluated, may call something refused."""
        rest = b""
        for piece in values:
            if self._suspicious.search(rest + piece):
                return True
            rest = piece[-100:]
        return False

    def _check_call(self, word: Token, before: Token | None, *, creates: bool) -> None:
        if before and (before.text == "." or before.says("INTO") or (creates and before.says("TABLE", "EXISTS"))):
            return  # a table's name and its columns
        if word.name.lower() in self._refused or (word.kind == "name" and "\\" in word.text):
            raise _refusal(f"{word.name}(...) reaches outside the store's own data")

    def _check_engine(self, after: list[Token]) -> None:
        name = next((word for word in after if word.kind in ("word", "name")), None)
        if name and (name.name.lower() in self._refused or "\\" in name.text):
            raise _refusal(f"the engine {name.name} reaches outside the store's own data")


def _refusal(what: str) -> StoreError:
    return StoreError(344, "SUPPORT_IS_DISABLED", f"This store does not allow it: {what}")
