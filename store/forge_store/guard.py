"""What no user may do: reach the server's files, programs, memory or network through SQL.

chDB gives its one user every right and knows no `user_files` folder, so what a server's grants would refuse is refused
here, by the statement's words: table functions, table and database engines and dictionary sources pass only if they
work on the store's own data. The lists of names come from the engine, so that a newer engine's new source is refused
until it is listed here.
"""

import re
from collections.abc import Container, Iterable

from forge_store.engine import TAG
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
FUNCTIONS_REFUSED = _names("""
    file disk python eval catboostevaluate aiclassify aiembed aiextract aifilter aigenerate airedact aisimilarity
    aitranslate
""")
SYSTEM_REFUSED = ("SHUTDOWN", "KILL", "SUSPEND")
# Settings that name files of the server, read statements in other words than SQL's, or hide them from KILL (the tag of
# `Connection`), by how they begin.
SETTINGS_REFUSED = ("format_schema", "format_template_", "disk", "google_adc", "custom_cached_disks", "dialect", TAG)
# Settings that let data of the format Values call functions: the store decides (`suspects`).
EVALUATION = ("input_format_values_interpret_expressions", "input_format_values_deduce_templates_of_expressions")


class Guard:
    """Refuses statements by their words, with StoreError 344."""

    def __init__(self, known: Iterable[str]) -> None:
        """`known`: every table function, engine and dictionary source that the engine has."""
        self._refused = ({name.lower() for name in known} - FUNCTIONS - ENGINES - SOURCES) | FUNCTIONS_REFUSED
        # The table function format would evaluate what it is given under the same settings.
        names = b"|".join(name.encode() for name in sorted(self._refused | {"format"}))
        # What a list of values must not hold outside its strings; a quoted name may hide one of the names.
        # Long space after a quote, which may stand across two pieces, is as bad; other letters may be space as well.
        self._suspicious = re.compile(
            rb"\b(?:" + names + rb")\b|`|[\"\x9d](?:\s{50}|\s*(?:\(|/\*|--|#|[\x80-\xff]))", re.IGNORECASE
        )

    def check(self, words: list[Token]) -> None:
        """Refuses a statement that reaches outside the store."""
        first = words[0].text.upper() if words else ""
        if first in ("BACKUP", "RESTORE"):
            raise _refusal(f"{first}: copy the data by SELECT and INSERT, or the volume by a snapshot")
        if first == "CREATE" and len(words) > 1 and words[1].says("NAMED"):
            raise _refusal("a NAMED COLLECTION, which is for reaching other servers")
        creates = first in ("CREATE", "REPLACE", "ATTACH")
        dictionary = creates and any(word.says("DICTIONARY") for word in words[:4])
        for index, word in enumerate(words):
            after = words[index + 1] if index + 1 < len(words) else None
            if after and after.text == "(" and word.kind in ("word", "name"):
                self._check_call(word, words[index - 1] if index else None, creates=creates)
            elif _is_named(word, FUNCTIONS_REFUSED) and _is_function_argument(words[:index]):
                raise _refusal(f"{word.name} as a function reaches outside the store's own data")
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
            elif word.kind in ("word", "name") and (
                (after and after.text == "=") or word.name.lower() in EVALUATION  # SETTINGS x means x = 1
            ):
                self.check_setting(word.name)
            elif dictionary and word.says("HOST") and after and after.kind in ("string", "heredoc"):
                if after.text not in ("'localhost'", "'127.0.0.1'"):
                    raise _refusal("a dictionary of another host")
            elif dictionary and word.kind in ("string", "heredoc"):
                # A dictionary's query stands in a string.
                if word.kind == "string" and re.search(r"\\[^\\']", word.text.replace("\\\\", "")):
                    raise _refusal("a dictionary's text with other escapes than \\\\ and \\'")
                self.check(list(scan(re.sub(r"\\(.)", r"\1", word.text).strip("'$"))))

    def check_setting(self, name: str) -> None:
        """Refuses settings by which a statement could reach outside the store, or escape its control."""
        if name.lower().startswith(SETTINGS_REFUSED):
            raise _refusal(f"the setting {name} names a file or disk of the server, or evades the store's checks")
        if name.lower() in EVALUATION:
            raise _refusal(f"the setting {name}: the store sets it by what the data hold")

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
        if _is_named(word, self._refused):
            raise _refusal(f"{word.name}(...) reaches outside the store's own data")

    def _check_engine(self, after: list[Token]) -> None:
        name = next((word for word in after if word.kind in ("word", "name")), None)
        if name and _is_named(name, self._refused):
            raise _refusal(f"the engine {name.name} reaches outside the store's own data")


def _is_named(word: Token, names: Container[str]) -> bool:
    """Whether a word is, or by its escapes may be, one of these names."""
    return word.kind in ("word", "name") and (word.name.lower() in names or (word.kind == "name" and "\\" in word.text))


def _is_function_argument(before: list[Token]) -> bool:
    """Whether what follows these words names a function: first in an array or map function, or after APPLY."""
    index = len(before) - 1
    while index >= 0 and before[index].text == "(":
        index -= 1
    if index < 0 or before[index].kind not in ("word", "name"):
        return False
    if index < len(before) - 1 and re.match(r"(?:array|map)\w", before[index].name, re.IGNORECASE):
        return True
    return before[index].says("APPLY")


def _refusal(what: str) -> StoreError:
    return StoreError(344, "SUPPORT_IS_DISABLED", f"This store does not allow it: {what}")
