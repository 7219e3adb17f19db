{{ config(order_by='(project_key, ticket_key)') }}

with issues as (

    select * from {{ ref('stg_jira__issues') }}
    {{ one_row_across_sources('jira', 'ticket_key') }}

),

final as (

    select
        source_name,
        issue_id,
        ticket_key,
        project_key,
        summary,
        issue_type,
        status,
        status_category,
        priority,
        resolution,
        assignee_id,
        assignee_name,
        reporter_id,
        reporter_name,
        parent_key,
        labels,
        toBool(status_category = 'done') as is_done,
        due_date,
        created_at,
        updated_at,
        resolved_at
    from issues

)

select * from final
