{{
    config(
        partition_by='toYYYYMM(run_created_at)',
        order_by='(ticket_bucket, repository_id, run_id, run_attempt)',
        indexes=[by_bucket(), by_number()],
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

jobs as (

    select * from {{ ref('stg_github__workflow_jobs') }}

),

runs as (

    -- Two sources may see a run.
    select * from {{ ref('stg_github__workflow_runs') }}
    where {{ in_dirty('toYYYYMM(created_at)') }}
    {{ one_row_across_sources('github', 'repository_id, run_id') }}

),

by_attempt as (

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
    from jobs
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

by_run as (

    select
        repository_id,
        run_id,
        groupArray((run_attempt, toNullable(conclusion), started_at, completed_at)) as attempts
    from by_attempt
    group by
        repository_id,
        run_id

),

unlinked as (

    select distinct head_sha from runs
    where empty(pull_request_numbers)

),

heads as (

    select
        repository_id,
        oid as sha,
        pull_request_number,
        ticket_key
    from commits
    where oid in (select head_sha from unlinked)

    union all

    select
        repository_id,
        head_sha as sha,
        pull_request_number,
        ticket_key
    from pull_requests
    where head_sha in (select head_sha from unlinked)

),

by_sha as (

    -- A commit of stacked pull requests belongs to the lowest.
    select
        repository_id,
        sha,
        min(pull_request_number) as lowest,
        argMin(ticket_key, pull_request_number) as ticket_of_lowest
    from heads
    group by
        repository_id,
        sha

),

by_number as (

    select
        repository_id,
        pull_request_number,
        ticket_key
    from pull_requests
    where (repository_id, pull_request_number) in (
        select
            repository_id,
            pull_request_numbers[1] as pull_request_number
        from runs
        where notEmpty(pull_request_numbers)
    )

),

linked as (

    select
        runs.repository_id as repository_id,
        runs.run_id as run_id,
        runs.workflow_name as workflow_name,
        runs.workflow_path as workflow_path,
        runs.event as event,
        runs.status as status,
        runs.conclusion as conclusion,
        runs.head_branch as head_branch,
        runs.head_sha as head_sha,
        runs.created_at as created_at,
        runs.updated_at as updated_at,
        runs.run_started_at as run_started_at,
        runs.actor_login as actor_login,
        runs.actor_type as actor_type,
        runs.run_attempt as last_attempt,
        coalesce(repositories.repository, runs.repository) as repository_now,
        if(
            notEmpty(runs.pull_request_numbers),
            toNullable(runs.pull_request_numbers[1]),
            by_sha.lowest
        ) as pull_request_number,
        coalesce(
            if(notEmpty(runs.pull_request_numbers), by_number.ticket_key, by_sha.ticket_of_lowest), ''
        ) as ticket_key,
        by_run.attempts as attempts
    from runs
    left join by_run
        on
            runs.repository_id = by_run.repository_id
            and runs.run_id = by_run.run_id
    left join by_sha
        on
            runs.repository_id = by_sha.repository_id
            and runs.head_sha = by_sha.sha
    left join by_number
        on
            runs.repository_id = by_number.repository_id
            and runs.pull_request_numbers[1] = by_number.pull_request_number
    left join repositories on runs.repository_id = repositories.repository_id

),

attempted as (

    -- GitHub lists a run as its last attempt left it; of those before its jobs tell.
    select
        *,
        arrayJoin(
            arrayPushBack(
                arrayFilter(attempt -> attempt.1 < last_attempt, attempts),
                (
                    last_attempt,
                    conclusion,
                    run_started_at,
                    if(
                        status = 'completed',
                        coalesce(
                            tupleElement(arrayFirst(attempt -> attempt.1 = last_attempt, attempts), 4),
                            toNullable(updated_at)
                        ),
                        null
                    )
                )
            )
        ) as attempt
    from linked

),

final as (

    select
        repository_id,
        repository_now as repository,
        {{ team_of_repository('repository_now') }} as team,
        run_id,
        attempt.1 as run_attempt,
        toBool(attempt.1 = last_attempt) as is_last_attempt,
        coalesce(workflow_name, workflow_path, '') as workflow_name,
        event,
        head_sha,
        head_branch,
        pull_request_number,
        ticket_key,
        {{ ticket_bucket('ticket_key') }} as ticket_bucket,
        actor_login,
        {{ actor_kind('github', 'actor_login', "''", 'actor_type') }} as actor_kind,
        attempt.2 as conclusion,
        created_at as run_created_at,
        attempt.3 as started_at,
        attempt.4 as completed_at,
        {{ seconds_between('attempt.3', 'attempt.4') }} as duration_seconds
    from attempted

)

select * from final
