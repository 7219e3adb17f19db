{{
    config(
        partition_by=month_of('created_at'),
        order_by=['source_name', 'issue_id'],
        unique_key=['source_name', 'issue_id'],
        dirty=["{{ partitions_of_affected() }}"],
        may_differ="{{ is_affected() }}",
    )
}}

with source as (

    {{ bronze('jira', 'issues') }}

),

renamed as (

    select
        source_name,
        id as issue_id,
        updated_at,
        key as ticket_key,
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
        JSONExtract(labels, 'Array(String)') as labels,
        created_at,
        resolved_at,
        due_date,
        custom_fields,
        issue_type_id,
        status_id,
        is_subtask,
        assignee_type,
        reporter_type,
        creator_id,
        creator_name,
        components,
        fix_versions,
        affects_versions,
        links,
        sprints,
        story_points,
        description,
        environment,
        original_estimate_seconds,
        time_spent_seconds,
        comments
    from source

),

final as (

    {{ with_unaffected('renamed') }}

)

select * from final
