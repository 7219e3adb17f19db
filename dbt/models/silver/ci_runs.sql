{{
    config(
        partition_by='toYYYYMM(run_created_at)',
        order_by='(ticket_bucket, repository_id, run_id, run_attempt)',
        dirty=[
            "select toYYYYMM(created_at) from " ~ changes('stg_github__workflow_runs'),
            "select toYYYYMM(created_at) from {{ ref('stg_github__workflow_runs') }}
             where (repository_id, run_id) in (
                 select repository_id, run_id from " ~ changes('stg_github__workflow_jobs') ~ "
             )",
            "select toYYYYMM(created_at) from {{ ref('stg_github__workflow_runs') }}
             where
                 (repository_id, head_sha) in (
                     select repository_id, oid from " ~ changes('pull_request_commits') ~ "
                     union all
                     select repository_id, head_sha from " ~ changes('pull_requests') ~ "
                 )
                 and empty(pull_request_numbers)",
            "select toYYYYMM(run_created_at) from {{ this }}
             where
                 (repository_id, coalesce(pull_request_number, 0)) in (
                     select repository_id, pull_request_number from " ~ changes('pull_requests') ~ "
                 )
                 and (repository_id, coalesce(pull_request_number, 0), ticket_key) not in (
                     select repository_id, pull_request_number, ticket_key from {{ ref('pull_requests') }}
                 )",
            "select toYYYYMM(run_created_at) from {{ this }}
             where
                 repository_id in (select repository_id from " ~ changes('repositories') ~ ")
                 and (repository_id, repository) not in (select repository_id, repository from {{ ref('repositories') }})",
        ],
    )
}}

with repositories as (

    select * from {{ ref('repositories') }}

),

pull_requests as (

    select * from {{ ref('pull_requests') }}

),

commits as (

    select * from {{ ref('pull_request_commits') }}

),

runs as (

    -- Two sources may see a run.
    select * from {{ ref('stg_github__workflow_runs') }}
    where {{ in_dirty('toYYYYMM(created_at)') }}
    {{ one_row_across_sources('github', 'repository_id, run_id') }}

),

jobs as (

    select
        repository_id,
        run_id,
        run_attempt,
        min(started_at) as started_at,
        max(completed_at) as completed_at,
        multiIf(
            countIf(conclusion in ('failure', 'timed_out')) > 0, 'failure',
            countIf(conclusion = 'cancelled') > 0, 'cancelled',
            'success'
        ) as conclusion
    from {{ ref('stg_github__workflow_jobs') }}
    where (source_name, repository_id, run_id) in (
        select
            source_name,
            repository_id,
            run_id
        from runs
    )
    group by
        repository_id,
        run_id,
        run_attempt

),

unlinked as (

    select distinct head_sha from runs
    where empty(pull_request_numbers)

),

heads as (

    select
        repository_id,
        oid as sha,
        pull_request_number
    from commits
    where oid in (select head_sha from unlinked)

    union all

    select
        repository_id,
        head_sha as sha,
        pull_request_number
    from pull_requests
    where head_sha in (select head_sha from unlinked)

),

by_sha as (

    -- A commit of stacked pull requests belongs to the lowest.
    select
        repository_id,
        sha,
        min(pull_request_number) as pull_request_number
    from heads
    group by
        repository_id,
        sha

),

linked as (

    select
        runs.*,
        if(
            notEmpty(runs.pull_request_numbers), toNullable(runs.pull_request_numbers[1]), by_sha.pull_request_number
        ) as linked_number
    from runs
    left join by_sha
        on
            runs.repository_id = by_sha.repository_id
            and runs.head_sha = by_sha.sha

),

tickets as (

    select
        repository_id,
        pull_request_number,
        ticket_key
    from pull_requests
    where (repository_id, pull_request_number) in (
        select
            repository_id,
            assumeNotNull(linked_number) as pull_request_number
        from linked
        where linked_number is not null
    )

),

attempts as (

    select
        linked.repository_id as repository_id,
        linked.run_id as run_id,
        linked.run_attempt as run_attempt,
        true as is_last_attempt,
        linked.conclusion as conclusion,
        linked.run_started_at as started_at,
        if(linked.status = 'completed', coalesce(jobs.completed_at, linked.updated_at), null) as completed_at
    from linked
    left join jobs
        on
            linked.repository_id = jobs.repository_id
            and linked.run_id = jobs.run_id
            and linked.run_attempt = jobs.run_attempt

    union all

    -- GitHub lists a run as its last attempt left it; of those before its jobs tell.
    select
        jobs.repository_id as repository_id,
        jobs.run_id as run_id,
        jobs.run_attempt as run_attempt,
        false as is_last_attempt,
        toNullable(jobs.conclusion) as conclusion,
        jobs.started_at as started_at,
        jobs.completed_at as completed_at
    from jobs
    inner join linked
        on
            jobs.repository_id = linked.repository_id
            and jobs.run_id = linked.run_id
    where jobs.run_attempt < linked.run_attempt

),

final as (

    select
        linked.repository_id as repository_id,
        coalesce(repositories.repository, linked.repository) as repository,
        {{ team_of_repository('coalesce(repositories.repository, linked.repository)') }} as team,
        linked.run_id as run_id,
        attempts.run_attempt as run_attempt,
        attempts.is_last_attempt as is_last_attempt,
        coalesce(linked.workflow_name, linked.workflow_path, '') as workflow_name,
        linked.event as event,
        linked.head_sha as head_sha,
        linked.head_branch as head_branch,
        linked.linked_number as pull_request_number,
        coalesce(tickets.ticket_key, '') as ticket_key,
        {{ ticket_bucket("coalesce(tickets.ticket_key, '')") }} as ticket_bucket,
        linked.actor_login as actor_login,
        {{ actor_kind('github', 'linked.actor_login', "''", 'linked.actor_type') }} as actor_kind,
        attempts.conclusion as conclusion,
        linked.created_at as run_created_at,
        attempts.started_at as started_at,
        attempts.completed_at as completed_at,
        {{ seconds_between('attempts.started_at', 'attempts.completed_at') }} as duration_seconds
    from attempts
    inner join linked
        on
            attempts.repository_id = linked.repository_id
            and attempts.run_id = linked.run_id
    left join tickets
        on
            linked.repository_id = tickets.repository_id
            and linked.linked_number = tickets.pull_request_number
    left join repositories on linked.repository_id = repositories.repository_id

)

select * from final
