{{
    config(
        partition_by='ticket_bucket',
        order_by='(ticket_key, stage, model)',
        dirty=["select ticket_bucket from {{ changes('llm_calls') }}"],
    )
}}

with llm_calls as (

    select * from {{ ref('llm_calls') }}
    where {{ in_dirty('ticket_bucket') }}

),

final as (

    select
        ticket_bucket,
        ticket_key,
        stage,
        model,
        uniqExactIf((project_id, trace_id), trace_id != '') as traces,
        count() as llm_calls,
        sum(input_tokens) as input_tokens,
        sum(output_tokens) as output_tokens,
        sum(total_tokens) as total_tokens,
        sum(cost_usd) as cost_usd,
        argMin(link_method, link_confidence) as link_method
    from llm_calls
    group by
        ticket_bucket,
        ticket_key,
        stage,
        model

)

select * from final
