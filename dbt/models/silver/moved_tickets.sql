{{ config(order_by='(former_key)') }}

with issues as (

    select * from {{ ref('jira_issues') }}

),

final as (

    select
        arrayJoin(former_keys) as former_key,
        argMax(ticket_key, (updated_at, ticket_key)) as current_key
    from issues
    group by former_key

)

select * from final
