"""Which loads a transform reads, and which of them no transform that succeeded has read.

silver.transform_batch is written before dbt runs and stays as it is while dbt runs, so that all models see the same
bronze. silver.transform_loads says what was consumed; one insert into it is the commit of a transform. There is no
watermark: a load that ends late, or is as old as one may be, is one more load that was not consumed.
"""

from __future__ import annotations

from collections.abc import Iterable

from forge_stack.wire import TransformSource

from forge_transform.store import Store


def write(store: Store, sources: Iterable[TransformSource]) -> list[tuple[str, str]]:
    """Freeze what there is: every complete load of the sources. Gives the source and id of those that are new."""
    loads = {row[0] for row in store.rows("select name from system.tables where database = 'bronze'")}
    selects = [
        f"select '{source.name}' as source_name, load_id, toDateTime64(max(inserted_at), 6, 'UTC') as loaded_at "  # noqa: S608
        f"from bronze.{source.prefix}__dlt_loads where status = 0 group by load_id"
        for source in sources
        if f"{source.prefix}__dlt_loads" in loads
    ]
    store.drop("silver.transform_batch__new")
    store.make("transform_batch__new", as_="transform_batch")
    if selects:
        store.run(
            "insert into silver.transform_batch__new (source_name, load_id, loaded_at, is_new) "  # noqa: S608
            "select source_name, load_id, loaded_at, (source_name, load_id) not in "
            f"(select source_name, load_id from silver.transform_loads) from ({' union all '.join(selects)})"
        )
    store.run(f"exchange tables silver.transform_batch__new and silver.transform_batch{store.cluster.on}")
    store.drop("silver.transform_batch__new")
    new = store.rows("select source_name, load_id from silver.transform_batch where is_new order by all")
    return [(str(source), str(load)) for source, load in new]


def commit(store: Store, run_id: str, fingerprint: str | None) -> None:
    """The transform succeeded: its new loads are consumed, what models recorded as changed has been seen by all.

    A row without a source stands for the run itself: a run without new loads is committed too. `fingerprint` is given
    when everything was built. Cut off after the first statement, the rest does no harm: changes that are read once more
    cost time and change nothing, and without its fingerprint everything is built once more.
    """
    store.run(
        "insert into silver.transform_loads (source_name, load_id, run_id, consumed_at) "  # noqa: S608
        f"select source_name, load_id, '{run_id}', now64(6, 'UTC') from silver.transform_batch where is_new "
        f"union all select '', '', '{run_id}', now64(6, 'UTC')"
    )
    clear_changes(store)
    if fingerprint is not None:
        store.truncate("silver.transform_settings")
        store.run(f"insert into silver.transform_settings select '{fingerprint}', now64(6, 'UTC')")


def clear_changes(store: Store) -> None:
    """Empty what models recorded as changed."""
    filled = store.rows(
        "select database, name from system.tables where database in ('silver', 'gold_next') "
        "and endsWith(name, '__changes') and total_rows > 0"
    )
    for database, name in filled:
        store.truncate(f"{database}.`{name}`")


def forget_settings(store: Store) -> None:
    """Before everything is built: what a build that fails half-way leaves was built with no one set of settings.

    The next transform then builds everything too, even when it has the settings of the last whole build again.
    """
    store.truncate("silver.transform_settings")
