{{
    config(
        partition_by=month_of('created_at'),
        order_by=['source_name', 'repository_id', 'deployment_id'],
        unique_key=['source_name', 'repository_id', 'deployment_id'],
        dirty=["{{ partitions_of_affected() }}"],
        may_differ="{{ is_affected() }}",
    )
}}

with source as (

    {{ bronze('github', 'deployments') }}

),

renamed as (

    select
        source_name,
        repository_id,
        deployment_id,
        updated_at,
        repository,
        node_id,
        environment,
        original_environment,
        ref,
        sha,
        task,
        description,
        created_at,
        creator_login,
        creator_type,
        state,
        payload,
        statuses
    from source

),

final as (

    {{ with_unaffected('renamed') }}

)

select * from final
