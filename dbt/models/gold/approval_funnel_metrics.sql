{{ config(
    order_by='(period, scope, scope_value, period_start)',
    partition_by='toYYYYMM(period_start)',
    dirty=[
        'select arrayJoin(' ~ period_months('proposed_at') ~ ') from ' ~ changes('approval_funnel', 'gold_next'),
        "select toYYYYMM(period_start) from {{ this }}"
        ~ " where tickets is null and exists (select 1 from {{ ref('stg_github__loads') }})"
    ]
) }}

with funnel as (

    select * from {{ ref('approval_funnel') }}
    where {{ in_dirty_periods('proposed_at') }}

),

loaded as (

    select count() > 0 as is_github_loaded
    from {{ ref('stg_github__loads') }}

),

gates as (

    select
        project_key,
        team,
        proposed_at,
        at_gate.1 as gate,
        at_gate.2 is not null as is_reached,
        if(is_reached, at_gate.3, null) as wait_seconds,
        at_gate.4 as is_of_pull_request
    from funnel
    array join
        cast(
            [
                ('proposed', proposed_at, null, false),
                ('plan_approved', plan_approved_at, plan_wait_seconds, false),
                ('pull_request_opened', pull_request_opened_at, open_wait_seconds, true),
                ('reviewed', first_reviewed_at, review_wait_seconds, true),
                ('approved', approved_at, approve_wait_seconds, true),
                ('merged', merged_at, merge_wait_seconds, true),
                ('deployed', deployed_at, deploy_wait_seconds, true)
            ],
            'Array(Tuple(String, Nullable(DateTime64(6, \'UTC\')), Nullable(Float64), Bool))'
        ) as at_gate

),

counted as (

    select
        in_period.1 as period,
        in_period.2 as period_start,
        in_scope.1 as scope,
        in_scope.2 as scope_value,
        gate,
        any(is_of_pull_request) as is_of_pull_request,
        count() as proposed,
        countIf(is_reached) as reached,
        {{ stats('wait_seconds', 'wait_seconds') }}
    from gates
    array join {{ period_rows('proposed_at') }} as in_period
    array join {{ scope_rows(team='team', project='project_key') }} as in_scope
    where {{ in_dirty('toYYYYMM(in_period.2)') }}
    group by
        period,
        period_start,
        scope,
        scope_value,
        gate

),

final as (

    -- What GitHub alone could have told is null where it was never loaded.
    select
        counted.period as period,
        counted.period_start as period_start,
        counted.scope as scope,
        counted.scope_value as scope_value,
        counted.gate as gate,
        if(counted.is_of_pull_request and not loaded.is_github_loaded, null, counted.reached) as tickets,
        tickets / counted.proposed as conversion,
        counted.wait_seconds_p50 as wait_seconds_p50,
        counted.wait_seconds_p75 as wait_seconds_p75,
        counted.wait_seconds_p90 as wait_seconds_p90,
        counted.wait_seconds_mean as wait_seconds_mean
    from counted
    cross join loaded

)

select * from final
