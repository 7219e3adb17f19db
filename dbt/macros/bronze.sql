{#-
    How staging reads bronze. A stack may have no, one or several sources of a type; each has its own tables,
    bronze.<prefix>_<entity>. These macros unite them, and give an empty relation of the same types when there is none.

    All models of a run read the loads that silver.transform_batch names, and no others: what ends while they are built is
    left to the next run. A load of the batch is new until a transform that read it succeeded.
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

{#- Whether a source has a table of the entity. -#}
{% macro is_source_available(source_name, entity) -%}
    {{ return(source_table(source_name, entity) is not none) }}
{%- endmacro %}

{#- The sources of a type that have a table of the entity. -#}
{% macro available_sources(source_type, entity) -%}
    {%- set available = [] -%}
    {%- for name in sources_of_type(source_type) if is_source_available(name, entity) -%}
        {%- do available.append(name) -%}
    {%- endfor -%}
    {{ return(available) }}
{%- endmacro %}

{#-
    All rows of an entity of a type, from every source of that type that has it: source_name and the columns that
    __sources.yml declares, cast to the types declared there. A partial build gets the rows of affected keys alone.

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
        {%- set key_columns = key.columns | map(attribute='name') | join(', ') -%}
        {%- for name in available_sources(source_type, entity) %}
            {%- set stored = stored_columns(name, entity) -%}
            {%- set deletions = source_table(name, 'deletions') %}
    select
        '{{ name }}' as source_name,
            {%- for column in columns %}
                {%- if column.name in stored %}
        cast(stored.{{ column.name }}, {{ sql_string(column.data_type) }}) as {{ column.name }}
                {%- else %}
        {#- The table was written by a release that did not know the column yet. #}
        defaultValueOfTypeName({{ sql_string(column.data_type) }}) as {{ column.name }}
                {%- endif -%}
        {{ "," if not loop.last }}
            {%- endfor %}
    from (
        select * from {{ source_table(name, entity) }} final
        prewhere
            {%- if is_partial() %}
            {{ has_affected_key(name, key) }}
            and
            {%- endif %}
            {{ is_in_batch(name) }}
    ) as stored
            {%- if deletions is not none %}
    left join (
        select
            {{ deleted_key(key) }},
            deleted_at
        from {{ deletions }} final
        prewhere {{ is_in_batch(name) }} and entity = '{{ entity }}'
        where
            reason in ('deleted', 'moved')
            {%- if is_partial() %}
            and {{ has_affected_key(name, key) }}
            {%- endif %}
    ) as gone
        using ({{ key_columns }})
    where gone.deleted_at is null or gone.deleted_at < stored.{{ key.version }}
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

{#- A condition: the row was written by a load of the batch. -#}
{% macro is_in_batch(source_name, only_new=false) -%}
    _dlt_load_id in (
        select load_id from silver.transform_batch
        where source_name = '{{ source_name }}'{{ ' and is_new' if only_new }}
    )
{%- endmacro %}

{#- The key columns of an entity, out of the JSON array in the table deletions. -#}
{% macro deleted_key(key) -%}
    {%- for column in key.columns -%}
    JSONExtract(entity_key, {{ loop.index }}, {{ sql_string(column.data_type) }}) as {{ column.name }}{{ ", " if not loop.last }}
    {%- endfor -%}
{%- endmacro %}

{#- The complete loads of every source of a type: source_name, load_id, loaded_at. -#}
{% macro bronze_loads(source_type) -%}
    {%- do source(source_type, '_dlt_loads') -%}
    {%- if execute -%}
        {%- set names = [] -%}
        {%- for name in sources_of_type(source_type) -%}
            {%- do names.append("'" ~ name ~ "'") -%}
        {%- endfor -%}
    select
        source_name,
        load_id,
        loaded_at
    from silver.transform_batch
    where {{ 'source_name in (' ~ names | join(', ') ~ ')' if names else 'false' }}
    {%- else -%}
    select 1 as source_name
    {%- endif -%}
{%- endmacro %}

{#- What the complete loads of every source of a type could not make a row of, without the answers themselves. -#}
{% macro bronze_rejected_rows(source_type) -%}
    {%- do source(source_type, '_dlt_loads') -%}
    {%- if execute -%}
        {%- set columns = ['entity', 'payload_hash', 'rejected_at', 'column_name', 'problem'] -%}
        {%- for name in available_sources(source_type, 'rejected_rows') %}
    select
        '{{ name }}' as source_name,
        {{ columns | join(', ') }}
    from {{ source_table(name, 'rejected_rows') }} final
    prewhere {{ is_in_batch(name) }}
            {%- if not loop.last %}
    union all
            {%- endif -%}
        {%- else %}
            {%- set typed = [] -%}
            {%- for column in columns -%}
                {%- set data_type = "DateTime64(6, 'UTC')" if column == 'rejected_at' else 'String' -%}
                {%- do typed.append({'name': column, 'data_type': data_type}) -%}
            {%- endfor %}
    {{ empty_relation(typed) }}
        {%- endfor -%}
    {%- else -%}
    select 1 as source_name
    {%- endif -%}
{%- endmacro %}

{#-
    How a staging model is built again. Affected are the keys of rows that new loads wrote, and those that they found
    deleted or returned; all of each such key is read anew from bronze, whatever its version and its month, and every
    other row of the same partitions is copied as it stands.
-#}

{#- The month of the first of some times that is known, 197001 when none is: what large models are partitioned by. -#}
{% macro month_of() -%}
    {%- set times = varargs | join(', ') -%}
    toYYYYMM({{ 'coalesce(' ~ times ~ ", toDateTime64(0, 6, 'UTC'))" }})
{%- endmacro %}

{#-
    Before a staging model is built in part: write down the affected keys, in <model>__affected, each with the months that
    it may come to. Those are the months of what new loads wrote: a row of an older load comes forth only when it stood
    before, so that its month is known from there, or when a note about its deletion says so. `birth_month` is the month
    by the columns of bronze.
-#}
{% macro find_affected() -%}
    {%- if is_partial() -%}
        {%- set source_type, entity = model.name[4:].split('__') -%}
        {%- set key = declared_key(source_type, entity) -%}
        {%- set key_columns = key.columns | map(attribute='name') | join(', ') -%}
        {%- set affected = beside(this, 'affected') -%}
        {%- set found = [] -%}
        {%- for name in available_sources(source_type, entity) -%}
            {%- do found.append(
                "select '" ~ name ~ "', " ~ key_columns ~ ', ' ~ birth_month() ~ ' from ' ~ source_table(name, entity)
                ~ ' prewhere ' ~ is_in_batch(name, only_new=true)
            ) -%}
            {%- if source_table(name, 'deletions') is not none -%}
                {%- do found.append("select '" ~ name ~ "', * from (" ~ noted_keys(name, entity, key) ~ ')') -%}
            {%- endif -%}
        {%- endfor -%}
        {%- set columns = config.get('unique_key') | join(', ') ~ ', ' ~ config.get('partition_by') ~ ' as birth_month' -%}
        {% do run_statement(create_beside(affected, 'select ' ~ columns ~ ' from ' ~ this)) %}
        {%- if found -%}
            {% do run_statement('insert into ' ~ affected ~ ' select distinct * from (' ~ found | join(' union all ') ~ ')') %}
        {%- endif -%}
    {%- endif -%}
{%- endmacro %}

{#-
    The keys that new loads noted in the table deletions, and months of their rows. A note that takes nothing away
    (expired, returned) matters only while bronze has the row: what bronze's own retention took since then stays in
    staging. One that does matters either way, if only in the month that its row is in now.
-#}
{% macro noted_keys(source_name, entity, key) -%}
    {%- set key_columns = key.columns | map(attribute='name') | join(', ') -%}
    {%- set noted -%}
        select {{ deleted_key(key) }}, reason from {{ source_table(source_name, 'deletions') }}
        prewhere {{ is_in_batch(source_name, only_new=true) }} and entity = '{{ entity }}'
    {%- endset -%}
    select {{ key_columns }}, 0 as birth_month from ({{ noted }})
    where reason in ('deleted', 'moved')
    union all
    select {{ key_columns }}, {{ birth_month() }} as birth_month from {{ source_table(source_name, entity) }}
    where {{ key_in(key.columns | map(attribute='name') | list, '(' ~ noted ~ ')', telling=1) }}
{%- endmacro %}

{#- The expression that a model is partitioned by over the columns of bronze, where those have other names. -#}
{% macro birth_month() -%}
    {{ config.get('birth_month', config.get('partition_by')) }}
{%- endmacro %}

{#- A condition on rows of bronze: the key is affected. -#}
{% macro has_affected_key(source_name, key) -%}
    {%- set affected = beside(this, 'affected') ~ " where source_name = '" ~ source_name ~ "'" -%}
    {{ key_in(key.columns | map(attribute='name') | list, affected, config.get('unique_key')[1:], telling=1) }}
{%- endmacro %}

{#- A condition on rows of this model: the key is affected. -#}
{% macro is_affected() -%}
    {%- set columns = config.get('unique_key') -%}
    {{ key_in(columns, beside(this, 'affected'), telling=[2, columns | length - 1] | min) }}
{%- endmacro %}

{#- The partitions of affected keys: those that they are in, and those that they may come to. -#}
{% macro partitions_of_affected() -%}
    select {{ config.get('partition_by') }} from {{ this }}
    where {{ is_affected() }}
    union distinct
    select birth_month from {{ beside(this, 'affected') }}
{%- endmacro %}

{#- All rows of this model: those made anew, named by their CTE, and in a partial build those that nothing touched. -#}
{% macro with_unaffected(made_anew) -%}
    {%- if is_partial() -%}
    {%- set columns = model.columns.keys() | join(', ') -%}
    select {{ columns }} from {{ made_anew }}
    union all
    select {{ columns }} from {{ this }}
    where {{ in_dirty(config.get('partition_by')) }} and not {{ is_affected() }}
    {%- else -%}
    select * from {{ made_anew }}
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
        defaultValueOfTypeName({{ sql_string(column.data_type) }}) as {{ column.name }}{{ "," if not loop.last }}
        {%- endfor %}
    where false
{%- endmacro %}

{#- The name of every column of a source's table. -#}
{% macro stored_columns(source_name, entity) -%}
    {{ return(adapter.get_columns_in_relation(source_table(source_name, entity)) | map(attribute='name') | list) }}
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

{#-
    The name, as a literal, of the one source that all rows of a staging model are of; nothing where there may be several.
    A count without a group by source is answered by the table's own figures.
-#}
{% macro only_source_of(model_name) -%}
    {%- set names = sources_of_type(model_name.split('__')[0].split('_')[1]) -%}
    {{ return(sql_string(names[0]) if names | length == 1 else '') }}
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
