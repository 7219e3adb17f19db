{{
    config(
        order_by=['source_name', 'project_id'],
    )
}}

with source as (

    {{ bronze('jira', 'projects') }}

),

renamed as (

    select
        source_name,
        project_id,
        loaded_at,
        key as project_key,
        name as project_name,
        project_type,
        lead_id,
        lead_name,
        is_archived
    from source

),

final as (

    select * from renamed

)

select * from final
