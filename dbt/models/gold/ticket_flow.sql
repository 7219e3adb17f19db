{{ config(
    order_by='(period, scope, scope_value, issue_type, period_start)',
    partition_by='toYYYYMM(period_start)',
    dirty=[
        'select arrayJoin(arrayConcat(' ~ period_months('created_at') ~ ', ' ~ period_months('started_at') ~ ', '
        ~ period_months('resolved_at') ~ ')) from ' ~ changes('tickets', 'gold_next'),
        'select arrayJoin(' ~ period_months('left_at') ~ ') from ' ~ changes('ticket_stages')
        ~ " where status_kind = 'done'",
        'select arrayJoin(' ~ period_months('left_at') ~ ") from {{ ref('ticket_stages') }}"
        ~ " where status_kind = 'done' and left_at is not null and ticket_key in (select ticket_key from "
        ~ changes('tickets', 'gold_next') ~ ')'
    ]
) }}

with tickets as (

    select * from {{ ref('tickets') }}
    where in_jira

),

reopenings as (

    select
        ticket_key,
        left_at
    from {{ ref('ticket_stages') }}
    where status_kind = 'done' and left_at is not null and {{ in_dirty_periods('left_at') }}

),

facts as (

    select
        'created' as fact,
        created_at as happened_at,
        team,
        project_key,
        issue_type,
        cast(null, 'Nullable(Float64)') as lead_time_seconds,
        cast(null, 'Nullable(Float64)') as cycle_time_seconds,
        cast(null, 'Nullable(Float64)') as active_seconds,
        cast(null, 'Nullable(Float64)') as flow_seconds
    from tickets
    where created_at is not null and {{ in_dirty_periods('created_at') }}

    union all

    select
        'started' as fact,
        started_at as happened_at,
        team,
        project_key,
        issue_type,
        null as lead_time_seconds,
        null as cycle_time_seconds,
        null as active_seconds,
        null as flow_seconds
    from tickets
    where started_at is not null and {{ in_dirty_periods('started_at') }}

    union all

    select
        'resolved' as fact,
        resolved_at as happened_at,
        team,
        project_key,
        issue_type,
        lead_time_seconds,
        cycle_time_seconds,
        active_seconds,
        queue_seconds + active_seconds + waiting_seconds as flow_seconds
    from tickets
    where resolved_at is not null and {{ in_dirty_periods('resolved_at') }}

    union all

    select
        'reopened' as fact,
        reopenings.left_at as happened_at,
        tickets.team as team,
        tickets.project_key as project_key,
        tickets.issue_type as issue_type,
        null as lead_time_seconds,
        null as cycle_time_seconds,
        null as active_seconds,
        null as flow_seconds
    from tickets
    inner join reopenings on tickets.ticket_key = reopenings.ticket_key

),

counted as (

    -- Every ticket counts under its own type and under '', all types.
    select
        fact,
        lead_time_seconds,
        cycle_time_seconds,
        active_seconds,
        flow_seconds,
        tupleElement(in_period, 1) as period,
        tupleElement(in_period, 2) as period_start,
        tupleElement(in_scope, 1) as scope,
        tupleElement(in_scope, 2) as scope_value,
        counted_type
    from facts
    array join {{ period_rows('happened_at') }} as in_period
    array join {{ scope_rows(team='team', project='project_key') }} as in_scope
    array join arrayDistinct(['', assumeNotNull(issue_type)]) as counted_type

),

final as (

    select
        period,
        period_start,
        scope,
        scope_value,
        counted_type as issue_type,
        countIf(fact = 'created') as created,
        countIf(fact = 'started') as started,
        countIf(fact = 'resolved') as resolved,
        countIf(fact = 'reopened') as reopened,
        {{ stats('lead_time_seconds', 'lead_time_seconds') }},
        {{ stats('cycle_time_seconds', 'cycle_time_seconds') }},
        {{ ratio_of_seconds('active_seconds', 'flow_seconds') }} as flow_efficiency
    from counted
    group by
        period,
        period_start,
        scope,
        scope_value,
        counted_type

)

select * from final
