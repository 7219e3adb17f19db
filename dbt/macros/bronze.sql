{#-
    How staging reads bronze. A stack may have no, one or several sources of a type; each has its own tables,
    bronze.<prefix>_<entity>. These macros unite them, and give an empty relation of the same types when there is none.
-#}

{#- The names of the stack's sources of a type. -#}
{% macro sources_of_type(source_type) -%}
    {{ return(var('sources') | selectattr('type', 'equalto', source_type) | map(attribute='name') | list) }}
{%- endmacro %}

{#- A source's own table of an entity; none when it never loaded one. -#}
{% macro source_table(source_name, entity) -%}
    {%- set identifier = source_name | replace('-', '_') ~ '_' ~ entity -%}
    {{ return(adapter.get_relation(database=none, schema='bronze', identifier=identifier)) }}
{%- endmacro %}

{#- Whether a source has a table of the entity, and dlt's table that says which loads are complete. -#}
{% macro is_source_available(source_name, entity) -%}
    {{ return(source_table(source_name, entity) is not none and source_table(source_name, '_dlt_loads') is not none) }}
{%- endmacro %}

{#-
    All rows of an entity of a type, from every source of that type that has it: source_name and the columns that
    __sources.yml declares, cast to the types declared there.

    Only rows of complete loads are read, and they are chosen before FINAL removes older versions: PREWHERE works
    before FINAL, WHERE after it. So an unfinished load hides no older row of a finished one.

    A row that the source has no more (a sweep of its ids said so: table deletions) is left out, unless it was written
    again later. What only the source's retention took stays: keeping it is what a warehouse is for.
-#}
{% macro bronze(source_type, entity) -%}
    {#- The call records the dependency for dbt's selection and lineage. -#}
    {%- do source(source_type, entity) -%}
    {%- if execute -%}
        {%- set columns = declared_columns(source_type, entity) -%}
        {%- set key = declared_key(source_type, entity) -%}
        {%- set available = [] -%}
        {%- for name in sources_of_type(source_type) if is_source_available(name, entity) -%}
            {%- do available.append(name) -%}
        {%- endfor -%}
        {%- for name in available %}
    select
        '{{ name }}' as source_name,
        {%- for column in columns %}
        cast(stored.{{ column.name }}, '{{ column.data_type | replace("'", "\\'") }}') as {{ column.name }}{{ "," if not loop.last }}
        {%- endfor %}
    from ({{ committed(name, entity) }}) as stored
            {%- if source_table(name, 'deletions') is not none %}
    left join (
        select
                {%- for column in key.columns %}
            JSONExtract(entity_key, {{ loop.index }}, '{{ column.data_type | replace("'", "\\'") }}') as {{ column.name }},
                {%- endfor %}
            deleted_at
        from ({{ committed(name, 'deletions') }})
        where entity = '{{ entity }}' and reason in ('deleted', 'moved')
    ) as gone
        using ({{ key.columns | map(attribute='name') | join(', ') }})
    where coalesce(gone.deleted_at, toDateTime64(0, 6, 'UTC')) < stored.{{ key.version }}
            {%- endif -%}
            {%- if not loop.last %}
    union all
            {%- endif -%}
        {%- else %}
    {{ empty_relation(columns) }}
        {%- endfor -%}
    {%- else -%}
    select 1 as source_name
    {%- endif -%}
{%- endmacro %}

{#- The rows of a source's table that complete loads wrote, the newest version of each. -#}
{% macro committed(source_name, entity) -%}
    select * from {{ source_table(source_name, entity) }} final
    prewhere _dlt_load_id in (select load_id from {{ source_table(source_name, '_dlt_loads') }} where status = 0)
{%- endmacro %}

{#- The complete loads of every source of a type: source_name, load_id, loaded_at. -#}
{% macro bronze_loads(source_type) -%}
    {%- do source(source_type, '_dlt_loads') -%}
    {%- if execute -%}
        {%- set available = [] -%}
        {%- for name in sources_of_type(source_type) if source_table(name, '_dlt_loads') is not none -%}
            {%- do available.append(name) -%}
        {%- endfor -%}
        {%- for name in available %}
    select
        '{{ name }}' as source_name,
        load_id,
        cast(inserted_at, 'DateTime64(6, \'UTC\')') as loaded_at
    from {{ source_table(name, '_dlt_loads') }}
    where status = 0
            {%- if not loop.last %}
    union all
            {%- endif -%}
        {%- else %}
    {{ empty_relation([
        {'name': 'load_id', 'data_type': 'String'}, {'name': 'loaded_at', 'data_type': "DateTime64(6, 'UTC')"}
    ]) }}
        {%- endfor -%}
    {%- else -%}
    select 1 as source_name
    {%- endif -%}
{%- endmacro %}

{#- The columns that __sources.yml declares for an entity, without dlt's own. -#}
{% macro declared_columns(source_type, entity) -%}
    {%- for node in graph.sources.values() if node.source_name == source_type and node.name == entity -%}
        {{ return(node.columns.values() | rejectattr('name', 'equalto', '_dlt_load_id') | list) }}
    {%- endfor -%}
{%- endmacro %}

{#- The key columns of an entity, in order, and the name of the column that tells versions apart. -#}
{% macro declared_key(source_type, entity) -%}
    {%- for node in graph.sources.values() if node.source_name == source_type and node.name == entity -%}
        {%- set columns = [] -%}
        {%- for name in node.config.meta.key -%}
            {%- do columns.append(node.columns[name]) -%}
        {%- endfor -%}
        {{ return({'columns': columns, 'version': node.config.meta.version}) }}
    {%- endfor -%}
{%- endmacro %}

{#- No rows, but source_name and the given columns with their types. -#}
{% macro empty_relation(columns) -%}
    select
        '' as source_name,
        {%- for column in columns %}
        defaultValueOfTypeName('{{ column.data_type | replace("'", "\\'") }}') as {{ column.name }}{{ "," if not loop.last }}
        {%- endfor %}
    where false
{%- endmacro %}

{#-
    When a stack has several sources of a type that may see the same thing (two tokens for one repository), one row a
    key stays: the one updated last. A single source is unique already, and pays nothing.
-#}
{% macro one_row_across_sources(source_type, key) -%}
    {%- if sources_of_type(source_type) | length > 1 -%}
    order by updated_at desc, source_name
    limit 1 by {{ key }}
    {%- endif -%}
{%- endmacro %}

{#- One row a key stays, the one updated last; the column `tie` decides between rows of one moment. -#}
{% macro newest_row(key, tie) -%}
    order by updated_at desc, source_name, {{ tie }} desc
    limit 1 by {{ key }}
{%- endmacro %}

{#- The sources of the stack: source_name, source_type. -#}
{% macro stack_sources() -%}
    {%- for one in var('sources') %}
    select
        '{{ one.name }}' as source_name,
        '{{ one.type }}' as source_type
        {%- if not loop.last %}
    union all
        {%- endif -%}
    {%- else %}
    {{ empty_relation([{'name': 'source_type', 'data_type': 'String'}]) }}
    {%- endfor -%}
{%- endmacro %}
