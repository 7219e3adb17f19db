{{
    config(
        partition_by=month_of('started_at'),
        order_by=['source_name', 'repository_id', 'check_run_id'],
        unique_key=['source_name', 'repository_id', 'check_run_id'],
        dirty=["{{ partitions_of_affected() }}"],
        may_differ="{{ is_affected() }}",
    )
}}

with source as (

    {{ bronze('github', 'check_runs') }}

),

renamed as (

    select
        source_name,
        repository_id,
        check_run_id,
        loaded_at,
        repository,
        node_id,
        head_sha,
        check_suite_id,
        name as check_run_name,
        status,
        conclusion,
        started_at,
        completed_at,
        app_slug,
        url,
        workflow_run_id
    from source

),

final as (

    {{ with_unaffected('renamed') }}

)

select * from final
