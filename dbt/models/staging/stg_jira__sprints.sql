{{
    config(
        order_by=['source_name', 'sprint_id'],
    )
}}

with source as (

    {{ bronze('jira', 'sprints') }}

),

renamed as (

    select
        source_name,
        sprint_id,
        loaded_at,
        name as sprint_name,
        state,
        board_id,
        goal,
        start_at,
        end_at,
        completed_at
    from source

),

final as (

    select * from renamed

)

select * from final
