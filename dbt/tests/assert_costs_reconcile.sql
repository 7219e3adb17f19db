-- Attributed and unattributed cost together are what Langfuse's calls cost, to the last digit.
with attributed as (

    select sum(cost_usd) as cost_usd
    from {{ ref('tickets') }}

),

by_ticket as (

    select
        sum(cost_usd) as total_usd,
        sumIf(cost_usd, ticket_key != '') as attributed_usd
    from {{ ref('ticket_costs') }}

),

calls as (

    select sum(cost_usd) as cost_usd
    from {{ ref('llm_calls') }}

)

select
    calls.cost_usd as calls_usd,
    by_ticket.total_usd as by_ticket_usd,
    by_ticket.attributed_usd as attributed_by_ticket_usd,
    attributed.cost_usd as tickets_usd
from calls
cross join by_ticket
cross join attributed
where
    by_ticket.total_usd != calls.cost_usd
    or by_ticket.attributed_usd != coalesce(attributed.cost_usd, 0)
