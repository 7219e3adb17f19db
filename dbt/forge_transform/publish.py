"""Gold as people see it, from gold_next, where it is built and tested.

A table is brought in line aside and exchanged in one step, so that readers see the last good one or the new one.
Nothing is copied whose parts are the same. Aside stands what was shown before: only its partitions that differ are
replaced, by hard links, so that to show a change costs by the change and not by the history. What a run that was cut
off left there, the next compares and brings in line.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from forge_transform.store import Store

SUFFIX = "__shown"
"""Ends the name of the table aside, in gold_next."""


@dataclass(frozen=True)
class Table:
    """What tells whether two tables are the same: their definitions, and their parts' own hashes, by partition id."""

    definition: str
    parts: Mapping[str, tuple[str, ...]]

    def differing(self, other: Table) -> list[str]:
        """The ids of the partitions that the two do not have alike."""
        ids = sorted({*self.parts, *other.parts})
        return [one for one in ids if self.parts.get(one) != other.parts.get(one)]

    def is_near(self, other: Table | None) -> bool:
        """Whether the other comes in line by some of its partitions, or its only one: it is defined alike."""
        if other is None or other.definition != self.definition:
            return False
        return len(self.differing(other)) <= max(1, len(self.parts) // 2)


def differing(
    models: Collection[str], built: Mapping[str, Table], published: Mapping[str, Table]
) -> tuple[list[str], list[str]]:
    """Which tables must be published, and which must go: published once, made by no model any more.

    Tables in gold that were never built in gold_next are somebody else's and stay.
    """
    changed = [name for name in sorted(models) if name in built and built[name] != published.get(name)]
    gone = [name for name in sorted(built) if name not in models and "__" not in name]
    return changed, gone


def read(store: Store, database: str) -> dict[str, Table]:
    """The tables of a database."""
    # A definition names the table itself: without its name it is that of the table aside too.
    found = store.rows(
        "select tables.name, replaceOne(create_table_query, concat(database, '.', name), ''), "  # noqa: S608
        "arraySort(parts.hashes) from system.tables as tables left join ("
        "select table, groupArray((partition_id, hash_of_all_files)) as hashes from system.parts "
        f"where database = '{database}' and active and rows > 0 group by table"
        f") as parts on parts.table = tables.name where database = '{database}'"
    )
    return {str(name): Table(str(definition), _by_partition(hashes)) for name, definition, hashes in found}


def _by_partition(hashes: Collection[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    parts: dict[str, tuple[str, ...]] = {}
    for partition, part in hashes:
        parts[partition] = (*parts.get(partition, ()), part)
    return parts


def publish(store: Store, models: Collection[str]) -> list[str]:
    """Bring gold in line with gold_next; gives the tables that were exchanged or made."""
    built, published = read(store, "gold_next"), read(store, "gold")
    changed, gone = differing(models, built, published)
    for name in changed:
        _prepare(store, name, built)
    # One after another without anything between: what is read together changes together, as nearly as it can.
    for name in changed:
        if name in published:
            store.run(f"exchange tables gold_next.{name}{SUFFIX} and gold.{name}{store.cluster.on}")
        else:
            store.run(f"rename table gold_next.{name}{SUFFIX} to gold.{name}{store.cluster.on}")
    for name in changed:
        # What has little in common with what is shown now would be made anew next time.
        if name in published and not built[name].is_near(published[name]):
            store.drop(f"gold_next.{name}{SUFFIX}")
    for name in gone:
        store.drop(f"gold.{name}")
        # Last, what says that the table was ours; before it what belongs to it.
        for other in sorted(built, reverse=True):
            if other == name or other.startswith(f"{name}__"):
                store.drop(f"gold_next.{other}")
    return changed


def _prepare(store: Store, name: str, built: Mapping[str, Table]) -> None:
    """Make the table aside what the built one is."""
    wanted, aside = built[name], f"gold_next.{name}{SUFFIX}"
    standing = built.get(f"{name}{SUFFIX}")
    if standing is not None and wanted.is_near(standing):
        if partitions := wanted.differing(standing):
            replaced = ", ".join(f"replace partition id '{one}' from gold_next.{name}" for one in partitions)
            store.run(f"alter table {aside} {replaced} settings allow_replace_partition_from_empty_source = 1")
        return
    store.drop(aside)
    # In two statements: a database of engine Replicated has no `create table ... clone as`.
    store.run(f"create table {aside}{store.cluster.on} as gold_next.{name}")
    store.run(f"alter table {aside}{store.cluster.on} attach partition all from gold_next.{name}")
