{{ config(order_by='(project_key, ticket_key)') }}

with issues as (

    -- One row a key: two sources may see it, and a project that was made anew under its old key brings it again.
    select * from {{ ref('stg_jira__issues') }}
    {{ newest_row('ticket_key', 'issue_id') }}

),

moves as (

    -- Jira tells of a move to another project as a change of the field Key.
    select
        source_name,
        issue_id,
        arraySort(groupUniqArray(upper(from_string))) as former_keys
    from {{ ref('stg_jira__issue_changelogs') }}
    where lower(field) = 'key' and from_string != '' and upper(from_string) not in (select ticket_key from issues)
    group by
        source_name,
        issue_id

),

final as (

    select
        issues.source_name as source_name,
        issues.issue_id as issue_id,
        ticket_key,
        project_key,
        moves.former_keys as former_keys,
        summary,
        issue_type,
        status,
        -- Jira also has statuses of no category: key undefined, or none at all.
        if(issues.status_category in ('new', 'indeterminate', 'done'), issues.status_category, null) as status_category,
        priority,
        resolution,
        assignee_id,
        assignee_name,
        reporter_id,
        reporter_name,
        parent_key,
        labels,
        toBool(issues.status_category = 'done') as is_done,
        due_date,
        created_at,
        updated_at,
        resolved_at
    from issues
    left join moves
        on
            issues.source_name = moves.source_name
            and issues.issue_id = moves.issue_id

)

select * from final
