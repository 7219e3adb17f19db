{#- What of Langfuse changed and what hangs on it. A model that follows whole traces makes only changed ones anew. -#}

{#- How sure it is that a trace belongs to its ticket, by what named it. -#}
{% macro trace_link_confidence(method) -%}
    transform({{ method }}, ['metadata', 'session', 'tag', 'trace_name'], [1.0, 0.95, 0.9, 0.7], 0.0)
{%- endmacro %}

{#- What became of a ticket, from a row of gold's tickets, which may be missing; `key` is the ticket that a cost names. -#}
{% macro ticket_outcome(key, ticket='tickets') -%}
    multiIf(
        {{ key }} = '', 'unattributed',
        not coalesce({{ ticket }}.in_jira, false), 'unknown_ticket',
        not coalesce({{ ticket }}.is_done, false), 'open',
        match(coalesce({{ ticket }}.resolution, ''), '(?i)won.?t|cancel|duplicate|abandon'), 'abandoned',
        -- null: no GitHub source was ever loaded, so nothing tells of merges
        {{ ticket }}.merged_pull_requests = 0, 'abandoned',
        'done'
    )
{%- endmacro %}

{#- Whether more than one source of the stack may see the same thing of a type: a text, or an empty one. -#}
{% macro has_copies(source_type) -%}
    {{ 'true' if sources_of_type(source_type) | length > 1 }}
{%- endmacro %}

{#- A condition that spares a partial build what it does not need; true when everything is built. -#}
{% macro if_partial(condition) -%}
    {{ condition if is_partial() else 'true' }}
{%- endmacro %}

{#-
    The rows of a staging model in the partitions that are built again, one a key over all sources. A newer copy of
    another source may lie in another partition, so all copies of these keys are compared before one is chosen.
-#}
{% macro rows_across_sources(model_name, source_type, key, partition_by) -%}
    {%- set relation = ref(model_name) -%}
    {%- if not has_copies(source_type) -%}
    select * from {{ relation }}
    where {{ in_dirty(partition_by) }}
    {%- else -%}
    select * from (
        select * from {{ relation }}
        where ({{ key }}) in (select {{ key }} from {{ relation }} where {{ in_dirty(partition_by) }})
        {{ one_row_across_sources(source_type, key) }}
    )
    where {{ in_dirty(partition_by) }}
    {%- endif -%}
{%- endmacro %}

{#- For `dirty`: the partitions of the rows of a staging model that changed, those of their copies too. -#}
{% macro partitions_across_sources(model_name, source_type, key, partition_by) -%}
    select {{ partition_by }} from {{ changes(model_name) }}
    {%- if has_copies(source_type) %}
    union distinct
    select {{ partition_by }} from {{ ref(model_name) }}
    where ({{ key }}) in (select {{ key }} from {{ changes(model_name) }})
    {%- endif -%}
{%- endmacro %}

{#-
    Observations hang together by their trace. Those without one are taken month by month, or a single late one would
    have all of history read again.
-#}
{% macro tree_month(of='') -%}
    if(coalesce({{ of }}trace_id, '') = '', toYYYYMM({{ of }}started_at), 0)
{%- endmacro %}

{#- The traces (project_id, trace_id, tree_month) of which something changed: themselves or one of their observations. -#}
{% macro changed_trees() -%}
    {%- set observations = 'stg_langfuse__observations' -%}
    select
        project_id,
        coalesce(trace_id, '') as trace_id,
        {{ tree_month() }} as tree_month
    from {{ changes(observations) }}
    {%- if has_copies('langfuse') %}
    union distinct
    select
        project_id,
        coalesce(trace_id, '') as trace_id,
        {{ tree_month() }} as tree_month
    from {{ ref(observations) }}
    where (project_id, observation_id) in (select project_id, observation_id from {{ changes(observations) }})
    {%- endif %}
    union distinct
    select
        project_id,
        trace_id,
        0 as tree_month
    from {{ changes('traces') }}
{%- endmacro %}

{#-
    Conditions on observations or calls: something of their trace changed; the same of those without a trace; both. Each
    of the two by itself is answered by an index, so where all of history is asked, it is asked twice.
-#}
{% macro in_changed_traces() -%}
    {{ key_in(['project_id', 'trace_id'], '(' ~ changed_trees() ~ ") where trace_id != ''") }}
{%- endmacro %}

{% macro in_changed_months() -%}
    coalesce(trace_id, '') = ''
    and toYYYYMM(started_at) in (select tree_month from ({{ changed_trees() }}) where trace_id = '')
    and (project_id, toYYYYMM(started_at)) in (
        select project_id, tree_month from ({{ changed_trees() }}) where trace_id = ''
    )
{%- endmacro %}

{% macro in_changed_trees() -%}
    ({{ in_changed_traces() }} or ({{ in_changed_months() }}))
{%- endmacro %}

{#- The observations that meet a condition on their trace, one a key over all sources. -#}
{% macro observations_where(condition) -%}
    {%- set relation = ref('stg_langfuse__observations') -%}
    {%- if not has_copies('langfuse') -%}
    select * from {{ relation }}
    where {{ condition }}
    {%- else -%}
    select * from (
        select * from {{ relation }}
        where (project_id, observation_id) in (
            select project_id, observation_id from {{ relation }} where {{ condition }}
        )
        {{ one_row_across_sources('langfuse', 'project_id, observation_id') }}
    )
    where {{ condition }}
    {%- endif -%}
{%- endmacro %}

{#-
    The observations of which something of their trace changed; all when everything is built. The months that
    months_of_changed_trees() named hold all of them.
-#}
{% macro observations_of_changed_trees() -%}
    {%- if is_partial() -%}
    {{ observations_where(in_dirty('toYYYYMM(started_at)') ~ ' and ' ~ in_changed_trees()) }}
    {%- else -%}
    {{ observations_where('true') }}
    {%- endif -%}
{%- endmacro %}

{#- For `dirty`: the months in which something that changed lies or lay, with the rest of its trace. -#}
{% macro months_of_changed_trees() -%}
    {%- set relation = ref('stg_langfuse__observations') -%}
    select toYYYYMM(started_at) from {{ changes('stg_langfuse__observations') }}
    union distinct
    select toYYYYMM(started_at) from {{ relation }}
    where {{ in_changed_traces() }}
    union distinct
    select toYYYYMM(started_at) from {{ relation }}
    where {{ in_changed_months() }}
{%- endmacro %}

{#- The traces (project_id, trace_id) whose run may come out differently: a score counts too. -#}
{% macro changed_runs() -%}
    select
        project_id,
        trace_id
    from ({{ changed_trees() }})
    where trace_id != ''
    union distinct
    select
        project_id,
        assumeNotNull(trace_id) as trace_id
    from {{ changes('scores') }}
    where trace_id != ''
{%- endmacro %}

{#- A condition on traces and what names one: its run may come out differently. -#}
{% macro in_changed_runs() -%}
    {{ key_in(['project_id', 'trace_id'], '(' ~ changed_runs() ~ ')') }}
{%- endmacro %}

{#- All rows of this model: those made anew, named by their CTE, and in a partial build those that a condition leaves out. -#}
{% macro with_kept(made_anew, is_made_anew) -%}
    {%- if is_partial() -%}
    {%- set columns = model.columns.keys() | join(', ') -%}
    select {{ columns }} from {{ made_anew }}
    union all
    select {{ columns }} from {{ this }}
    where {{ in_dirty(config.get('partition_by')) }} and not {{ is_made_anew }}
    {%- else -%}
    select * from {{ made_anew }}
    {%- endif -%}
{%- endmacro %}
