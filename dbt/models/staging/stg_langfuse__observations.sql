{{
    config(
        partition_by=month_of('started_at'),
        order_by=['source_name', 'project_id', 'observation_id'],
        unique_key=['source_name', 'project_id', 'observation_id'],
        birth_month=month_of('start_time'),
        dirty=["{{ partitions_of_affected() }}"],
        may_differ="{{ is_affected() }}",
        indexes=[{'name': 'by_trace', 'definition': 'trace_id type bloom_filter(0.001) granularity 1'}],
    )
}}

with source as (

    {{ bronze('langfuse', 'observations') }}

),

renamed as (

    select
        source_name,
        project_id,
        id as observation_id,
        updated_at,
        created_at,
        trace_id,
        parent_observation_id,
        type as observation_type,
        name as observation_name,
        level,
        status_message,
        environment,
        start_time as started_at,
        end_time as ended_at,
        completion_start_time as completion_started_at,
        latency_seconds,
        time_to_first_token_seconds,
        model,
        usage_details,
        cost_details,
        input_tokens,
        output_tokens,
        total_tokens,
        cached_input_tokens,
        reasoning_tokens,
        total_cost as cost_usd,
        prompt_name,
        prompt_version,
        JSONExtract(tags, 'Array(String)') as tags,
        metadata,
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
