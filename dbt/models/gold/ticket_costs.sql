{{ config(order_by='(ticket_key, stage, model)') }}

with llm_calls as (

    select * from {{ ref('llm_calls') }}

),

final as (

    select
        ticket_key,
        stage,
        model,
        uniqExactIf((project_id, trace_id), trace_id != '') as traces,
        count() as llm_calls,
        sum(input_tokens) as input_tokens,
        sum(output_tokens) as output_tokens,
        sum(total_tokens) as total_tokens,
        sum(cost_usd) as cost_usd,
        argMax(link_method, indexOf(['metadata', 'session', 'tag', 'trace_name', 'none'], link_method)) as link_method
    from llm_calls
    group by
        ticket_key,
        stage,
        model

)

select * from final
