"""Gold as people see it, from gold_next, where it is built and tested.

A table is copied by hard links and exchanged in one step, so that readers see the last good one or the new one. Nothing
is copied whose parts are the same: only what a transform changed is. What is left over of a run that was cut off is
dropped by the next.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from forge_transform.store import Store

SUFFIX = "__publish"


@dataclass(frozen=True)
class Table:
    """What tells whether two tables are the same: their definitions, and their parts' own hashes."""

    definition: str
    parts: tuple[str, ...]


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
    found = store.rows(
        "select tables.name, replaceOne(create_table_query, concat(database, '.'), ''), "  # noqa: S608
        "arraySort(parts.hashes) from system.tables as tables left join ("
        "select table, groupArray(concat(partition_id, ':', hash_of_all_files)) as hashes from system.parts "
        f"where database = '{database}' and active and rows > 0 group by table"
        f") as parts on parts.table = tables.name where database = '{database}'"
    )
    return {str(name): Table(str(definition), tuple(parts)) for name, definition, parts in found}


def publish(store: Store, models: Collection[str]) -> list[str]:
    """Bring gold in line with gold_next; gives the tables that were exchanged or made."""
    built, published = read(store, "gold_next"), read(store, "gold")
    sweep(store, built)
    changed, gone = differing(models, built, published)
    for name in changed:
        # In two statements: a database of engine Replicated has no `create table ... clone as`.
        store.run(f"create table gold_next.{name}{SUFFIX}{store.cluster.on} as gold_next.{name}")
        store.run(f"alter table gold_next.{name}{SUFFIX}{store.cluster.on} attach partition all from gold_next.{name}")
    # One after another without anything between: what is read together changes together, as nearly as it can.
    for name in changed:
        if name in published:
            store.run(f"exchange tables gold_next.{name}{SUFFIX} and gold.{name}{store.cluster.on}")
        else:
            store.run(f"rename table gold_next.{name}{SUFFIX} to gold.{name}{store.cluster.on}")
    for name in changed:
        store.drop(f"gold_next.{name}{SUFFIX}")
    for name in gone:
        store.drop(f"gold.{name}")
        # Last, what says that the table was ours; before it what belongs to it.
        for other in sorted(built, reverse=True):
            if other == name or other.startswith(f"{name}__"):
                store.drop(f"gold_next.{other}")
    return changed


def sweep(store: Store, built: Collection[str]) -> None:
    """Drop copies that a run left when it was cut off."""
    for name in built:
        if name.endswith(SUFFIX):
            store.drop(f"gold_next.{name}")
