{{
    config(
        partition_by='toYYYYMM(created_at)',
        order_by='(repository_id, deployment_key)',
        dirty=[
            "select toYYYYMM(created_at) from " ~ changes('stg_github__deployments'),
            "select toYYYYMM(created_at) from {{ this }}
             where
                 repository_id in (select repository_id from " ~ changes('repositories') ~ ")
                 and (repository_id, repository) not in (select repository_id, repository from {{ ref('repositories') }})",
            "select toYYYYMM(run_created_at) from " ~ changes('ci_runs') ~ "
             where {{ matches('workflow_name', 'deployment_workflow_pattern') }}",
            "select toYYYYMM(run_created_at) from {{ ref('ci_runs') }}
             where
                 {{ matches('workflow_name', 'deployment_workflow_pattern') }}
                 and repository_id in (
                     select repository_id from " ~ changes('repositories') ~ "
                     union all
                     select repository_id from " ~ changes('stg_github__deployments') ~ "
                 )",
        ],
    )
}}

with repositories as (

    select * from {{ ref('repositories') }}

),

staged as (

    select * from {{ ref('stg_github__deployments') }}

),

runs as (

    select * from {{ ref('ci_runs') }}
    where
        {{ in_dirty('toYYYYMM(run_created_at)') }}
        and {{ matches('workflow_name', 'deployment_workflow_pattern') }}

),

told as (

    -- Two sources may see a deployment.
    select * from staged
    where {{ in_dirty('toYYYYMM(created_at)') }}
    {{ one_row_across_sources('github', 'repository_id, deployment_id') }}

),

finished as (

    select
        *,
        arrayMap(
            status -> (
                lower(JSONExtractString(status, 'state')),
                parseDateTime64BestEffortOrNull(JSONExtractString(status, 'createdAt'), 6, 'UTC')
            ),
            JSONExtractArrayRaw(statuses)
        ) as states,
        arrayFilter(state -> state.1 = 'success', states) as successes,
        arrayFilter(state -> state.1 in ('failure', 'error'), states) as failures
    from told

),

by_deployment as (

    select
        concat('github:', toString(repository_id), '/', toString(deployment_id)) as deployment_key,
        'github_deployment' as kind,
        repository_id,
        repository,
        environment,
        toBool({{ matches('environment', 'deployment_environment_pattern') }}) as is_production,
        sha,
        ref,
        creator_login,
        {{ actor_kind('github', 'creator_login', "''", 'creator_type') }} as creator_kind,
        multiIf(notEmpty(successes), 'succeeded', notEmpty(failures), 'failed', 'pending') as outcome,
        created_at,
        -- Later states of a deployment that succeeded tell of what came after it: inactive, or failed when run again.
        arrayMin(
            arrayMap(state -> state.2, if(notEmpty(successes), successes, failures))
        ) as finished_at
    from finished

),

workflows as (

    -- A repository that knows no deployments may deploy by a workflow: what ran on its default branch.
    select
        runs.repository_id as repository_id,
        runs.run_id as run_id,
        any(runs.repository) as repository,
        any(runs.head_sha) as sha,
        any(runs.head_branch) as ref,
        any(runs.actor_login) as creator_login,
        any(runs.actor_kind) as creator_kind,
        any(runs.run_created_at) as created_at,
        minIf(runs.completed_at, runs.conclusion = 'success') as succeeded_at,
        minIf(runs.completed_at, runs.conclusion in ('failure', 'timed_out', 'startup_failure')) as failed_at,
        countIf(runs.conclusion = 'success') > 0 as has_succeeded,
        countIf(
            runs.is_last_attempt and runs.conclusion in ('failure', 'timed_out', 'startup_failure')
        ) > 0 as has_failed,
        countIf(runs.is_last_attempt and runs.completed_at is null) > 0 as is_pending
    from runs
    inner join repositories on runs.repository_id = repositories.repository_id
    where
        runs.head_branch = repositories.default_branch
        -- The branch of a fork may be called like the default branch.
        and not startsWith(runs.event, 'pull_request')
        and runs.repository_id not in (select repository_id from staged)
    group by
        runs.repository_id,
        runs.run_id

),

by_workflow as (

    select
        concat('workflow:', toString(repository_id), '/', toString(run_id)) as deployment_key,
        'workflow_run' as kind,
        repository_id,
        repository,
        'production' as environment,
        true as is_production,
        sha,
        ref,
        creator_login,
        creator_kind,
        multiIf(has_succeeded, 'succeeded', has_failed, 'failed', 'pending') as outcome,
        created_at,
        multiIf(has_succeeded, succeeded_at, has_failed, failed_at, null) as finished_at
    from workflows
    where has_succeeded or has_failed or is_pending

),

deployments as (

    select * from by_deployment
    union all
    select * from by_workflow

),

final as (

    select
        deployments.deployment_key as deployment_key,
        deployments.kind as kind,
        deployments.repository_id as repository_id,
        coalesce(repositories.repository, deployments.repository) as repository,
        {{ team_of_repository('coalesce(repositories.repository, deployments.repository)') }} as team,
        deployments.environment as environment,
        deployments.is_production as is_production,
        deployments.sha as sha,
        deployments.ref as ref,
        deployments.creator_login as creator_login,
        deployments.creator_kind as creator_kind,
        deployments.outcome as outcome,
        deployments.created_at as created_at,
        deployments.finished_at as finished_at
    from deployments
    left join repositories on deployments.repository_id = repositories.repository_id

)

select * from final
