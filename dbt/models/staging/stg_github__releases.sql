{{
    config(
        order_by=['source_name', 'repository_id', 'release_id'],
    )
}}

with source as (

    {{ bronze('github', 'releases') }}

),

renamed as (

    select
        source_name,
        repository_id,
        release_id,
        updated_at,
        repository,
        tag_name,
        name as release_name,
        is_draft,
        is_prerelease,
        created_at,
        published_at,
        author_login,
        target_sha,
        url
    from source

),

final as (

    select * from renamed

)

select * from final
