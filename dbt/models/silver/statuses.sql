{{ config(order_by='(source_name, status)') }}

with issues as (

    select * from {{ ref('jira_issues') }}

),

categories as (

    -- Statuses have no table of their own. When the category of one changed, tickets that moved since tell the new one.
    select
        issues.source_name as source_name,
        issues.status as status,
        argMax(assumeNotNull(issues.status_category), (issues.updated_at, issues.ticket_key)) as status_category
    from issues
    where issues.status_category is not null
    group by
        issues.source_name,
        issues.status

),

final as (

    select
        source_name,
        status,
        status_category,
        {{ status_kind('status', 'status_category') }} as status_kind
    from categories

)

select * from final
