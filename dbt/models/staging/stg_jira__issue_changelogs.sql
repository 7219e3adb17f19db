with source as (

    {{ bronze('jira', 'issue_changelogs') }}

),

renamed as (

    select
        source_name,
        issue_id,
        history_id,
        item_index,
        created_at as changed_at,
        issue_key as ticket_key,
        author_id,
        author_name,
        field,
        field_id,
        from_value,
        from_string,
        to_value,
        to_string
    from source

)

select * from renamed
