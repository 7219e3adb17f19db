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
        custom_fields
    from source

)

select * from renamed
