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
        latency_seconds
    from source

)

select * from renamed
