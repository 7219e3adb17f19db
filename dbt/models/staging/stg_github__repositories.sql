{{
    config(
        order_by=['source_name', 'repository_id'],
    )
}}

with source as (

    {{ bronze('github', 'repositories') }}

),

renamed as (

    select
        source_name,
        repository_id,
        loaded_at,
        repository,
        node_id,
        is_private,
        is_archived,
        is_fork,
        default_branch,
        JSONExtract(topics, 'Array(String)') as topics,
        created_at,
        pushed_at
    from source

),

final as (

    select * from renamed

)

select * from final
