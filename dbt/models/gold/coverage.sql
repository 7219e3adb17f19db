{{ config(order_by='source') }}

{#- What a source brings, and the business time of it: which of its times says how new a row is. -#}
{%- set entities = [
    ('stg_langfuse__traces', 'started_at'),
    ('stg_langfuse__observations', 'started_at'),
    ('stg_langfuse__scores', 'scored_at'),
    ('stg_github__repositories', 'pushed_at'),
    ('stg_github__pull_requests', 'updated_at'),
    ('stg_github__check_runs', 'completed_at'),
    ('stg_github__workflow_runs', 'updated_at'),
    ('stg_github__workflow_jobs', 'completed_at'),
    ('stg_github__deployments', 'updated_at'),
    ('stg_jira__issues', 'updated_at'),
    ('stg_jira__issue_changelogs', 'changed_at'),
    ('stg_prometheus__series', 'last_seen_at'),
    ('stg_prometheus__samples', 'sampled_at'),
] -%}

with stack_sources as (

    {{ stack_sources() }}

),

loads as (

    {%- for source_type in ['langfuse', 'github', 'jira', 'prometheus'] %}
        select
            source_name,
            '{{ source_type }}' as source_type,
            load_id,
            loaded_at
        from {{ ref('stg_' ~ source_type ~ '__loads') }}
        {%- if not loop.last %}
            union all
        {%- endif %}
    {%- endfor %}

),

entities as (

    {%- for entity, happened_at in entities %}
        select
            {{ only_source_of(entity) or 'source_name' }} as source_name,
            count() as row_count,
            max({{ happened_at }}) as newest_event_at
        from {{ ref(entity) }}
        {{ 'having count() > 0' if only_source_of(entity) else 'group by source_name' }}
        {%- if not loop.last %}
            union all
        {%- endif %}
    {%- endfor %}

),

loads_by_source as (

    select
        source_name,
        source_type,
        uniqExact(load_id) as load_count,
        max(loaded_at) as last_load_at
    from loads
    group by
        source_name,
        source_type

),

rows_by_source as (

    select
        source_name,
        sum(row_count) as row_count,
        max(newest_event_at) as newest_event_at
    from entities
    group by source_name

),

final as (

    select
        stack_sources.source_name as source,
        stack_sources.source_type as type,
        toBool(coalesce(loads_by_source.load_count, 0) > 0) as available,
        coalesce(rows_by_source.row_count, 0) as "rows",
        rows_by_source.newest_event_at as newest_event_at,
        coalesce(loads_by_source.load_count, 0) as loads,
        loads_by_source.last_load_at as last_load_at
    from stack_sources
    left join loads_by_source
        on
            stack_sources.source_name = loads_by_source.source_name
            and stack_sources.source_type = loads_by_source.source_type
    left join rows_by_source
        on stack_sources.source_name = rows_by_source.source_name

)

select * from final
