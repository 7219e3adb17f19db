{{
    config(
        partition_by=month_of('created_at'),
        order_by=['source_name', 'repository_id', 'run_id'],
        indexes=[{'name': 'by_run', 'definition': 'run_id type minmax granularity 1'}],
        unique_key=['source_name', 'repository_id', 'run_id'],
        dirty=["{{ partitions_of_affected() }}"],
        may_differ="{{ is_affected() }}",
    )
}}

with source as (

    {{ bronze('github', 'workflow_runs') }}

),

renamed as (

    select
        source_name,
        repository_id,
        run_id,
        updated_at,
        repository,
        workflow_id,
        name as workflow_name,
        path as workflow_path,
        event,
        status,
        conclusion,
        run_number,
        run_attempt,
        head_branch,
        head_sha,
        created_at,
        run_started_at,
        actor_login,
        actor_type,
        triggering_actor_login,
        check_suite_id,
        JSONExtract(pull_requests, 'Array(Int64)') as pull_request_numbers,
        url
    from source

),

final as (

    {{ with_unaffected('renamed') }}

)

select * from final
