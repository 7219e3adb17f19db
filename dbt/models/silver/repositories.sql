{{ config(order_by='(repository_id)') }}

with staged as (

    select * from {{ ref('stg_github__repositories') }}

),

pull_requests as (

    select * from {{ ref('stg_github__pull_requests') }}

),

described as (

    -- Two sources may see a repository: the row read last stays.
    select * from staged
    order by loaded_at desc, source_name asc
    limit 1 by repository_id

),

named as (

    -- A repository that a source told of only by its pull requests.
    select
        repository_id,
        argMax(repository, (updated_at, source_name)) as repository
    from pull_requests
    where repository_id not in (select repository_id from described)
    group by repository_id

),

final as (

    select
        repository_id,
        repository,
        default_branch,
        is_archived,
        is_private,
        topics,
        {{ team_of_repository('repository') }} as team,
        toNullable(created_at) as created_at
    from described

    union all

    select
        repository_id,
        repository,
        cast(null, 'Nullable(String)') as default_branch,
        false as is_archived,
        false as is_private,
        cast([], 'Array(String)') as topics,
        {{ team_of_repository('repository') }} as team,
        cast(null, 'Nullable(DateTime64(6, \'UTC\'))') as created_at
    from named

)

select * from final
