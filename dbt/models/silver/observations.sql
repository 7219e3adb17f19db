{{ config(order_by='(project_id, observation_id)') }}

with observations as (

    select * from {{ ref('stg_langfuse__observations') }}
    {{ one_row_across_sources('langfuse', 'project_id, observation_id') }}

),

measured as (

    select
        *,
        coalesce(input_tokens, 0) as input_tokens_used,
        coalesce(output_tokens, 0) as output_tokens_used,
        coalesce(total_tokens, input_tokens_used + output_tokens_used) as total_tokens_used,
        coalesce(cost_usd, toDecimal128(0, 12)) as cost_spent
    from observations

),

final as (

    select
        source_name,
        project_id,
        observation_id,
        coalesce(trace_id, '') as trace_id,
        coalesce(parent_observation_id, '') as parent_observation_id,
        observation_type,
        observation_name,
        level,
        status_message,
        coalesce(model, '') as model,
        input_tokens_used as input_tokens,
        output_tokens_used as output_tokens,
        total_tokens_used as total_tokens,
        cost_spent as cost_usd,
        toBool(cost_spent != 0 or total_tokens_used > 0) as is_billed,
        started_at,
        ended_at,
        updated_at
    from measured

)

select * from final
