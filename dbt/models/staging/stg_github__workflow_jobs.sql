{{
    config(
        partition_by=month_of('created_at', 'started_at'),
        order_by=['source_name', 'repository_id', 'job_id'],
        indexes=[{'name': 'by_run', 'definition': 'run_id type minmax granularity 1'}],
        unique_key=['source_name', 'repository_id', 'job_id'],
        dirty=["{{ partitions_of_affected() }}"],
        may_differ="{{ is_affected() }}",
    )
}}

with source as (

    {{ bronze('github', 'workflow_jobs') }}

),

renamed as (

    select
        source_name,
        repository_id,
        job_id,
        loaded_at,
        repository,
        run_id,
        run_attempt,
        name as job_name,
        status,
        conclusion,
        created_at,
        started_at,
        completed_at,
        head_sha,
        runner_name,
        JSONExtract(labels, 'Array(String)') as labels,
        steps
    from source

),

final as (

    {{ with_unaffected('renamed') }}

)

select * from final
