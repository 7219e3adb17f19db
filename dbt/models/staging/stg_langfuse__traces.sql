{{
    config(
        partition_by=month_of('started_at'),
        order_by=['source_name', 'project_id', 'trace_id'],
        unique_key=['source_name', 'project_id', 'trace_id'],
        birth_month=month_of('timestamp'),
        dirty=["{{ partitions_of_affected() }}"],
        may_differ="{{ is_affected() }}",
    )
}}

with source as (

    {{ bronze('langfuse', 'traces') }}

),

renamed as (

    select
        source_name,
        project_id,
        id as trace_id,
        updated_at,
        created_at,
        timestamp as started_at,
        name as trace_name,
        session_id,
        user_id,
        environment,
        release,
        version,
        JSONExtract(tags, 'Array(String)') as tags,
        metadata,
        total_cost as cost_usd,
        latency_seconds,
        ticket,
        stage,
        repository,
        event,
        attempt
    from source

),

final as (

    {{ with_unaffected('renamed') }}

)

select * from final
