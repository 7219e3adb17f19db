{{ config(
    partition_by='toYYYYMM(period_start)',
    order_by='(period, period_start, scope, scope_value)',
    dirty=[
        "select arrayJoin(" ~ period_months('finished_at') ~ ") from " ~ changes('deployment_outcomes', 'gold_next'),
        "select arrayJoin(" ~ period_months('deployed_at') ~ ") from " ~ changes('change_lead_times', 'gold_next'),
    ]
) }}

with outcomes as (

    select
        *,
        assumeNotNull(finished_at) as at
    from {{ ref('deployment_outcomes') }}
    where
        finished_at is not null
        and outcome in ('succeeded', 'failed')
        and {{ in_dirty_periods('finished_at') }}

),

changes as (

    select
        *,
        assumeNotNull(deployed_at) as at
    from {{ ref('change_lead_times') }}
    where deployed_at is not null and {{ in_dirty_periods('deployed_at') }}

),

projects as (

    -- A deployment belongs to every project of which it brought out a change.
    select
        deployment_key,
        groupUniqArray(assumeNotNull(project_key)) as project_keys
    from changes
    where project_key is not null
    group by deployment_key

),

facts as (

    select
        outcomes.at as at,
        outcomes.repository as repository,
        outcomes.team as team,
        projects.project_keys as project_keys,
        outcomes.outcome as fact,
        coalesce(outcomes.is_failed, false) as is_failed,
        coalesce(outcomes.is_rework, false) as is_rework,
        if(outcomes.is_failed, outcomes.recovery_seconds, null) as recovery_seconds,
        cast(null, 'Nullable(Float64)') as lead_time_seconds
    from outcomes
    left join projects on outcomes.deployment_key = projects.deployment_key

    union all

    select
        at,
        repository,
        team,
        if(project_key is null, [], [assumeNotNull(project_key)]) as project_keys,
        'change' as fact,
        false as is_failed,
        false as is_rework,
        null as recovery_seconds,
        lead_time_seconds
    from changes
    where is_counted

),

final as (

    select
        in_period.1 as period,
        in_period.2 as period_start,
        in_scope.1 as scope,
        in_scope.2 as scope_value,
        countIf(fact = 'succeeded') as deployments,
        countIf(is_failed) as failed_deployments,
        countIf(fact = 'failed') as deployments_attempted_failed,
        failed_deployments / nullIf(deployments, 0) as change_fail_rate,
        countIf(is_rework) as rework_deployments,
        rework_deployments / nullIf(deployments, 0) as rework_rate,
        uniqExactIf(toDate(at), fact = 'succeeded') as deployment_days,
        countIf(fact = 'change') as changes,
        {{ stats('lead_time_seconds', 'change_lead_time_seconds') }},
        count(recovery_seconds) as recoveries,
        {{ stats('recovery_seconds', 'recovery_time_seconds') }}
    from facts
    array join {{ period_rows('at') }} as in_period
    array join
        arrayConcat(
            {{ scope_rows(team='team', repository='repository') }},
            arrayMap(project_key -> ('project', project_key), project_keys)
        ) as in_scope
    where {{ in_dirty('toYYYYMM(in_period.2)') }}
    group by
        period,
        period_start,
        scope,
        scope_value

)

select * from final
