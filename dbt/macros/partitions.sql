{#-
    How a model is built again only where something changed. docs: dbt/README.md, "What is built again".

    materialized='partitioned'. A model with `partition_by` (one expression of one column) also says in `dirty` which of its
    partitions to build again: a list of selects of one column, usually over `changes('<upstream model>')`. Without
    `partition_by` the model is small: it is built whole. Either way only the partitions that came out different are
    replaced, and the rows that differ are kept in <model>__changes for the models downstream.

    Beside a model stand <model>__changes, <model>__dirty (the partitions that the last run built again) and, while it is
    built, <model>__new and <model>__diff. Every step may be cut off and done again: changes are written down before the
    model changes, so what is downstream never misses one; that it may see one twice costs time and nothing else.
-#}

{#- The rows of a model that changed since the last transform that succeeded, as they were and as they are now. -#}
{% macro changes(model_name, schema='silver') -%}
    {{ schema }}.{{ model_name }}__changes
{%- endmacro %}

{#- A condition that keeps what belongs to a partition that is built again; true when all of them are. -#}
{% macro in_dirty(expression) -%}
    {%- if is_partial() -%}
    {{ expression }} in (select partition from {{ this.schema }}.{{ this.identifier }}__dirty)
    {%- else -%}
    true
    {%- endif -%}
{%- endmacro %}

{#- Whether only some partitions of this model are built. -#}
{% macro is_partial() -%}
    {{ return(config.get('partition_by') is not none and exists_partitioned()) }}
{%- endmacro %}

{#- Whether this model stands and may be changed in place; never in a unit test. -#}
{% macro exists_partitioned() -%}
    {%- if not execute or model.resource_type != 'model' or should_full_refresh() -%}
        {{ return(false) }}
    {%- endif -%}
    {%- set existing = load_cached_relation(this) -%}
    {{ return(existing is not none and existing.is_table and load_cached_relation(beside(this, 'changes')) is not none) }}
{%- endmacro %}

{#-
    A condition: the columns, several or one, are those of a row of a relation (what may follow `from`), where they may have
    other names. One value is looked up five times as fast as a tuple, so one column is asked first: that which says most,
    by its place `telling`.
-#}
{% macro key_in(columns, relation, names=none, telling=-1) -%}
    {%- set named = names or columns -%}
    {%- if columns | length > 1 -%}
    (
        {{ columns[telling] }} in (select {{ named[telling] }} from {{ relation }})
        and ({{ columns | join(', ') }}) in (select {{ named | join(', ') }} from {{ relation }})
    )
    {%- else -%}
    {{ columns[0] }} in (select {{ named[0] }} from {{ relation }})
    {%- endif -%}
{%- endmacro %}

{#- A table that stands beside a model. -#}
{% macro beside(relation, what) -%}
    {{ return(relation.incorporate(path={'identifier': relation.identifier ~ '__' ~ what}, type='table')) }}
{%- endmacro %}

{#- The partition of what belongs to a ticket: its project and the thousands of its number; '' for no ticket. -#}
{% macro ticket_bucket(ticket_key) -%}
    if(
        {{ ticket_key }} = '', '',
        concat(
            splitByChar('-', {{ ticket_key }})[1], '/',
            toString(intDiv(toUInt64OrZero(splitByChar('-', {{ ticket_key }})[-1]), 1000))
        )
    )
{%- endmacro %}

{#-
    Indexes of models by month that are also read by ticket or by pull request: they tell which months hold none of those, so
    that such a read does not grow with the history. Numbers of pull requests grow with time; buckets do too, in each project.
-#}
{% macro by_bucket() -%}
    {{ return({'name': 'by_bucket', 'definition': 'ticket_bucket type set(0) granularity 1'}) }}
{%- endmacro %}

{% macro by_number() -%}
    {{ return({'name': 'by_number', 'definition': 'pull_request_number type minmax granularity 1'}) }}
{%- endmacro %}

{% materialization partitioned, adapter='clickhouse' %}
    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}
    {%- set relations = build_in_place(sql) if exists_partitioned() else build_whole(sql) -%}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {% do adapter.commit() %}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return({'relations': relations}) }}
{% endmaterialization %}

{#- The whole model, built aside and put in the place of what was there in one step. Nothing of it counts as changed. -#}
{% macro build_whole(sql) -%}
    {%- set target = this.incorporate(type='table') -%}
    {%- set new, recorded = beside(target, 'new'), beside(target, 'changes') -%}
    {%- set existing = load_cached_relation(this) -%}
    {% do drop_table(new) %}
    {% call statement('main') -%}
        {{ get_create_table_as_sql(False, new, sql) }}
    {%- endcall %}
    {% do run_statement(create_beside(recorded, 'select *, \'\' as changed_by from ' ~ new)) %}
    {#- Without it a test knows that all partitions are new. -#}
    {% do adapter.drop_relation(beside(target, 'dirty')) %}
    {%- if existing is none -%}
        {% do run_statement('rename table ' ~ new ~ ' to ' ~ target ~ on_cluster_clause(target)) %}
    {%- else -%}
        {% do exchange_tables_atomic(new, target) %}
    {%- endif -%}
    {% do drop_table(new) %}
    {{ return([target, recorded]) }}
{%- endmacro %}

{#- Only the partitions that are dirty, and of those only the ones that come out different. -#}
{% macro build_in_place(sql) -%}
    {%- set target = this.incorporate(type='table') -%}
    {%- set new, diff, dirty = beside(target, 'new'), beside(target, 'diff'), beside(target, 'dirty') -%}
    {%- set partition_by = config.get('partition_by') -%}
    {%- set relations = [target, beside(target, 'changes')] -%}
    {%- if partition_by is not none -%}
        {% do find_dirty(target, dirty, partition_by) %}
        {% do relations.append(dirty) %}
        {%- if not run_query('select 1 from ' ~ dirty ~ ' limit 1').rows | length -%}
            {% call noop_statement('main', 'nothing to build again', 'OK', 0) %}select 1{% endcall %}
            {{ return(relations) }}
        {%- endif -%}
    {%- endif -%}
    {%- set is_built = (partition_by ~ ' in (select partition from ' ~ dirty ~ ')') if partition_by is not none else 'true' -%}
    {%- set columns = contract_columns() -%}

    {%- if config.get('contract').enforced -%}
        {% do get_assert_columns_equivalent(sql) %}
    {%- endif -%}
    {% do run_statement('create or replace table ' ~ new ~ on_cluster_clause(new) ~ ' as ' ~ target) %}
    {% call statement('main') -%}
        insert into {{ new }} ({{ columns }})
        select {{ columns }}
        from ({{ sql }})
        where {{ is_built }}
        {{ adapter.get_model_query_settings(model) }}
    {%- endcall %}

    {#- `may_differ` spares the comparison of rows that a model only copies. -#}
    {%- set compared = is_built ~ ' and (' ~ render(config.get('may_differ', 'true')) ~ ')' -%}
    {#- formatRow tells null from '' and one column's end from the next one's start. -#}
    {%- set row_hash = "sipHash128(formatRow('RowBinary', " ~ columns ~ "))" -%}
    {%- set difference -%}
        select
            partition_id,
            row_hash
        from (
            select
                _partition_id as partition_id,
                {{ row_hash }} as row_hash,
                -1 as times
            from {{ target }}
            where {{ compared }}
            union all
            select
                _partition_id as partition_id,
                {{ row_hash }} as row_hash,
                1 as times
            from {{ new }}
            where {{ compared }}
        )
        group by
            partition_id,
            row_hash
        having sum(times) != 0
    {%- endset -%}
    {% do run_statement(
        'create or replace table ' ~ diff ~ on_cluster_clause(diff)
        ~ ' (partition_id String, row_hash FixedString(16)) ' ~ engine_clause() ~ ' order by tuple()'
    ) %}
    {% do run_statement('insert into ' ~ diff ~ ' ' ~ difference) %}
    {%- set partition_ids = run_query('select distinct partition_id from ' ~ diff ~ ' order by partition_id').rows -%}
    {%- if partition_ids | length -%}
        {%- set differs -%}
            {{ compared }} and {{ row_hash }} in (select row_hash from {{ diff }})
        {%- endset -%}
        {% do run_statement(
            'insert into ' ~ beside(target, 'changes') ~ ' (' ~ columns ~ ', changed_by)'
            ~ ' select ' ~ columns ~ ", '" ~ var('run_id', invocation_id) ~ "' from " ~ target ~ ' where ' ~ differs
            ~ ' union all'
            ~ ' select ' ~ columns ~ ", '" ~ var('run_id', invocation_id) ~ "' from " ~ new ~ ' where ' ~ differs
        ) %}
        {% call statement('replace_partitions') -%}
            alter table {{ target }}
            {%- for row in partition_ids %}
            replace partition id '{{ row[0] }}' from {{ new }}{{ ',' if not loop.last }}
            {%- endfor %}
            settings allow_replace_partition_from_empty_source = 1
        {%- endcall %}
    {%- endif -%}
    {% do run_statement('drop table if exists ' ~ diff ~ ', ' ~ new ~ on_cluster_clause(new)) %}
    {{ return(relations) }}
{%- endmacro %}

{#- Write down which partitions are built again. -#}
{% macro find_dirty(target, dirty, partition_by) -%}
    {%- if load_cached_relation(dirty) is none -%}
        {% do run_statement(create_beside(dirty, 'select ' ~ partition_by ~ ' as partition from ' ~ target)) %}
    {%- else -%}
        {% do run_statement('truncate table ' ~ dirty ~ on_cluster_clause(dirty)) %}
    {%- endif -%}
    {%- set selects = [] -%}
    {%- for one in config.get('dirty') -%}
        {% do selects.append('select * from (' ~ render(one) ~ ')') %}
    {%- endfor -%}
    {% do run_statement('insert into ' ~ dirty ~ ' select distinct * from (' ~ selects | join(' union all ') ~ ')') %}
{%- endmacro %}

{#- The columns of this model's contract, in their order. -#}
{% macro contract_columns() -%}
    {%- set columns = [] -%}
    {%- for column in model.columns.values() -%}
        {%- do columns.append(adapter.quote(column.name)) -%}
    {%- endfor -%}
    {{ return(columns | join(', ')) }}
{%- endmacro %}

{#- An empty table with the columns of a select. -#}
{% macro create_beside(relation, select) -%}
    create or replace table {{ relation }} {{ on_cluster_clause(relation) }}
    {{ engine_clause() }}
    order by tuple()
    empty as {{ select }}
{%- endmacro %}

{% macro drop_table(relation) -%}
    {% do run_statement('drop table if exists ' ~ relation ~ on_cluster_clause(relation) ~ ' sync') %}
{%- endmacro %}

{#- A statement whose answer does not matter. -#}
{% macro run_statement(sql) -%}
    {% call statement('partitions') -%}
        {{ sql }}
    {%- endcall %}
{%- endmacro %}
