{{ config(order_by='source') }}

with stack_sources as (

    {{ stack_sources() }}

),

loads as (

    select
        source_name,
        'langfuse' as source_type,
        load_id,
        loaded_at
    from {{ ref('stg_langfuse__loads') }}
    union all
    select
        source_name,
        'github' as source_type,
        load_id,
        loaded_at
    from {{ ref('stg_github__loads') }}
    union all
    select
        source_name,
        'jira' as source_type,
        load_id,
        loaded_at
    from {{ ref('stg_jira__loads') }}
    union all
    select
        source_name,
        'prometheus' as source_type,
        load_id,
        loaded_at
    from {{ ref('stg_prometheus__loads') }}

),

entities as (

    select
        source_name,
        count() as row_count,
        max(started_at) as newest_event_at
    from {{ ref('stg_langfuse__traces') }}
    group by source_name
    union all
    select
        source_name,
        count() as row_count,
        max(started_at) as newest_event_at
    from {{ ref('stg_langfuse__observations') }}
    group by source_name
    union all
    select
        source_name,
        count() as row_count,
        max(updated_at) as newest_event_at
    from {{ ref('stg_github__pull_requests') }}
    group by source_name
    union all
    select
        source_name,
        count() as row_count,
        max(updated_at) as newest_event_at
    from {{ ref('stg_jira__issues') }}
    group by source_name
    union all
    select
        source_name,
        count() as row_count,
        max(changed_at) as newest_event_at
    from {{ ref('stg_jira__issue_changelogs') }}
    group by source_name
    union all
    select
        source_name,
        count() as row_count,
        max(last_seen_at) as newest_event_at
    from {{ ref('stg_prometheus__series') }}
    group by source_name
    union all
    select
        source_name,
        count() as row_count,
        max(sampled_at) as newest_event_at
    from {{ ref('stg_prometheus__samples') }}
    group by source_name

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
