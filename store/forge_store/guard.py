"""What no user may do: reach the server's files, programs, memory or network through SQL.

chDB gives its one user every right and knows no `user_files` folder, so what a server's grants would refuse is refused
here, by the statement's words: table functions, table and database engines and dictionary sources pass only if they
work on the store's own data. The lists of names come from the engine, so that a newer engine's new source is refused
until it is listed here.
"""

from collections.abc import Iterable

from forge_store.errors import StoreError
from forge_store.sql import Token, tokens, unquoted

FUNCTIONS = frozenset(
    """cluster clusterallreplicas dictionary format fuzzjson generaterandom generateseries generate_series input loop merge
    mergetreeanalyzeindexes mergetreeanalyzeindexesuuid mergetreecodecblockcounts mergetreeindex mergetreeprojection
    mergetreetextindex null numbers numbers_mt primes prometheusquery prometheusqueryrange sqlstandardvalues
    timeseriesdata timeseriesmetricfamilies timeseriesmetrics timeseriessamples timeseriesselector timeseriestags
    values view viewexplain viewifpermitted zeros zeros_mt""".split()
)
ENGINES = frozenset(
    """aggregatingmergetree alias buffer coalescingmergetree collapsingmergetree dictionary distributed fuzzjson
    generaterandom graphitemergetree join keepermap log loop materializedview memory merge mergetree null
    replacingmergetree set stripelog summingmergetree timeseries tinylog versionedcollapsingmergetree view atomic ordinary
    replicated replicatedaggregatingmergetree replicatedcoalescingmergetree replicatedcollapsingmergetree
    replicatedgraphitemergetree replicatedmergetree replicatedreplacingmergetree replicatedsummingmergetree
    replicatedversionedcollapsingmergetree""".split()
)
SOURCES = frozenset(("clickhouse", "null"))
ALWAYS_REFUSED = frozenset(
    ("file", "disk", "executable", "executable_pool", "yamlregexptree", "http", "python", "eval")
)
REFUSED_SYSTEM = frozenset(("SHUTDOWN", "KILL", "SUSPEND", "ENABLE", "DISABLE"))
REFUSED_SETTINGS = ("format_schema", "format_template_", "google_adc", "disk")


class Guard:
    """Refuses statements by their words."""

    def __init__(self, known: Iterable[str]) -> None:
        """`known`: every table function, engine and dictionary source that the engine has."""
        self._refused = ({name.lower() for name in known} - FUNCTIONS - ENGINES - SOURCES) | ALWAYS_REFUSED

    def check(self, words: list[Token]) -> None:
        """Raises StoreError when the statement reaches outside the store."""
        first = words[0].text.upper() if words else ""
        for index, word in enumerate(words):
            following = words[index + 1] if index + 1 < len(words) else None
            if following and following.text == "(" and word.kind in ("word", "name"):
                self._check_call(words, index, creates=first in ("CREATE", "REPLACE", "ATTACH"))
            if word.says("ENGINE"):
                self._check_engine(words[index + 1 : index + 3])
            if word.says("INTO") and following and following.says("OUTFILE"):
                raise _refusal("INTO OUTFILE writes files of the server: the result comes in the response")
            if word.says("INFILE") and index and words[index - 1].says("FROM"):
                raise _refusal("FROM INFILE reads files of the server: send the data in the body")
            if first == "SYSTEM" and index == 1 and word.text.upper() in REFUSED_SYSTEM:
                raise _refusal(f"SYSTEM {word.text.upper()}")
            if first == "ATTACH" and word.says("FROM"):
                raise _refusal("ATTACH ... FROM a path")
            if first in ("BACKUP", "RESTORE"):
                raise _refusal(f"{first}: copy the data by SELECT and INSERT, or the volume by a snapshot")
            if following and following.text == "=" and word.kind in ("word", "name"):
                self.check_setting(unquoted(word) if word.kind == "name" else word.text)
            if word.kind in ("string", "heredoc") and any(other.says("DICTIONARY") for other in words[:4]):
                self.check(tokens(word.text.strip("'$")))

    def check_setting(self, name: str) -> None:
        """Refuses settings that name files of the server."""
        if name.lower() == "disk" or any(name.lower().startswith(prefix) for prefix in REFUSED_SETTINGS[:3]):
            raise _refusal(f"the setting {name} names a file or disk of the server")

    def _check_call(self, words: list[Token], index: int, *, creates: bool) -> None:
        word = words[index]
        before = words[index - 1] if index else None
        if before and (before.text == "." or before.says("INTO") or (creates and before.says("TABLE", "EXISTS"))):
            return  # a table's name and its list of columns
        name = unquoted(word) if word.kind == "name" else word.text
        if name.lower() in self._refused or (word.kind == "name" and "\\" in word.text):
            raise _refusal(f"{name}(...) reaches outside the store's own data")

    def _check_engine(self, after: list[Token]) -> None:
        names = [word for word in after if word.kind in ("word", "name")]
        name = names[0].text.strip('`"') if names else ""
        if name.lower() in self._refused or "\\" in name:
            raise _refusal(f"the engine {name} reaches outside the store's own data")


def _refusal(what: str) -> StoreError:
    return StoreError(344, "SUPPORT_IS_DISABLED", f"This store does not allow it: {what}")
