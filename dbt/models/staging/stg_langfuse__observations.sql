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
        model,
        usage_details,
        cost_details,
        input_tokens,
        output_tokens,
        total_tokens,
        total_cost as cost_usd,
        prompt_name,
        prompt_version,
        metadata
    from source

)

select * from renamed
