{{ config(
    partition_by='toYYYYMM(period_start)',
    order_by='(period, period_start, scope, scope_value, workflow)',
    dirty=["select arrayJoin(" ~ period_months('run_created_at') ~ ") from " ~ changes('ci_runs')]
) }}

with attempts as (

    select * from {{ ref('ci_runs') }}
    where {{ in_dirty_periods('run_created_at') }}

),

ci_runs as (

    select
        repository_id,
        run_id,
        any(repository) as repository,
        any(team) as team,
        any(workflow_name) as workflow_name,
        any(run_created_at) as at,
        maxIf(run_attempt, is_last_attempt) as last_attempt,
        countIf(is_last_attempt and conclusion = 'success') > 0 as is_passed,
        countIf(is_last_attempt and {{ is_failed_run('conclusion') }}) > 0 as is_failed,
        countIf(run_attempt = 1 and conclusion = 'success') > 0 as is_passed_at_first,
        countIf(run_attempt = 1 and {{ is_failed_run('conclusion') }}) > 0
        and countIf(run_attempt > 1 and conclusion = 'success') > 0 as is_flaky,
        anyIf(duration_seconds, is_last_attempt) as duration_seconds
    from attempts
    group by
        repository_id,
        run_id
    having is_passed or is_failed

),

final as (

    select
        in_period.1 as period,
        in_period.2 as period_start,
        in_scope.1 as scope,
        in_scope.2 as scope_value,
        in_workflow as workflow,
        count() as runs,
        toUInt64(sum(last_attempt)) as attempts,
        countIf(is_passed) as passed,
        passed / runs as pass_rate,
        countIf(is_passed_at_first) as first_attempt_passed,
        first_attempt_passed / runs as first_attempt_pass_rate,
        countIf(is_flaky) as flaky_runs,
        flaky_runs / runs as flake_rate,
        {{ stats('duration_seconds', 'duration_seconds') }}
    from ci_runs
    array join {{ period_rows('at') }} as in_period
    array join {{ scope_rows(team='team', repository='repository') }} as in_scope
    array join arrayDistinct(['', workflow_name]) as in_workflow
    where {{ in_dirty('toYYYYMM(in_period.2)') }}
    group by
        period,
        period_start,
        scope,
        scope_value,
        workflow

)

select * from final
