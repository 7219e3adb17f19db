{#-
    Every table of cost sums to the calls that count, to the last digit: attributed and unattributed, failed and abandoned.
    A table that forgets (retention) has lost calls that another one still remembers; then there is nothing to compare.
-#}
with leaves as (

    select
        sum(cost_usd) as total_usd,
        sumIf(cost_usd, ticket_key != '') as attributed_usd,
        sumIf(cost_usd, trace_started_at is not null) as of_known_traces_usd,
        toInt64(sum(total_tokens)) as tokens
    from {{ ref('llm_calls') }}

),

ticket_costs as (

    select
        sum(cost_usd) as total_usd,
        sumIf(cost_usd, ticket_key != '') as attributed_usd,
        toInt64(sum(total_tokens)) as tokens
    from {{ ref('ticket_costs') }}

),

attribution as (

    select
        sum(cost_usd) as total_usd,
        sumIf(cost_usd, ticket_outcome != 'unattributed') as attributed_usd,
        toInt64(sum(total_tokens)) as tokens
    from {{ ref('cost_attribution') }}

),

runs as (

    select
        sum(cost_usd) as total_usd,
        sumIf(cost_usd, ticket_key != '') as attributed_usd
    from {{ ref('agent_runs') }}

),

tickets as (

    select coalesce(sum(cost_usd), 0) as attributed_usd
    from {{ ref('tickets') }}

),

forgetting as (

    select count() as tables
    from system.tables
    where
        database in ('{{ ref('llm_calls').schema }}', '{{ ref('tickets').schema }}')
        and name in ('llm_calls', 'cost_attribution', 'agent_runs', 'ticket_costs', 'tickets')
        and position(engine_full, ' TTL ') > 0

),

final as (

    select
        leaves.total_usd as calls_usd,
        leaves.attributed_usd as attributed_calls_usd,
        leaves.of_known_traces_usd as calls_of_known_traces_usd,
        ticket_costs.total_usd as ticket_costs_usd,
        ticket_costs.attributed_usd as attributed_ticket_costs_usd,
        attribution.total_usd as cost_attribution_usd,
        attribution.attributed_usd as attributed_cost_attribution_usd,
        runs.total_usd as agent_runs_usd,
        runs.attributed_usd as attributed_agent_runs_usd,
        tickets.attributed_usd as tickets_usd
    from leaves
    cross join ticket_costs
    cross join attribution
    cross join runs
    cross join tickets
    cross join forgetting
    where
        forgetting.tables = 0
        and (
            ticket_costs.total_usd != leaves.total_usd
            or attribution.total_usd != leaves.total_usd
            or runs.total_usd != leaves.of_known_traces_usd
            or ticket_costs.attributed_usd != leaves.attributed_usd
            or attribution.attributed_usd != leaves.attributed_usd
            or runs.attributed_usd != leaves.attributed_usd
            or tickets.attributed_usd != leaves.attributed_usd
            or ticket_costs.tokens != leaves.tokens
            or attribution.tokens != leaves.tokens
        )

)

select * from final
