{{ config(
    order_by='(period, period_start, approver, gate)',
    partition_by='toYYYYMM(period_start)',
    dirty=[
        'select arrayJoin(' ~ period_months('decided_at') ~ ') from ' ~ changes('approvals'),
        'select arrayJoin(' ~ period_months('decided_at') ~ ") from {{ ref('approvals') }}"
        ~ ' where (approver_system, approver_account) in (select system, account from ' ~ changes('actors') ~ ')'
    ]
) }}

with approvals as (

    select * from {{ ref('approvals') }}
    where {{ in_dirty_periods('decided_at') }} and approver_kind = 'human'

),

actors as (

    select * from {{ ref('actors') }}

),

decisions as (

    -- One person may decide on plans in Jira and on pull requests in GitHub.
    select
        approvals.gate as gate,
        approvals.decision as decision,
        approvals.decided_at as decided_at,
        approvals.wait_seconds as wait_seconds,
        coalesce(actors.identity, concat(approvals.approver_system, ':', approvals.approver_account)) as approver
    from approvals
    left join actors
        on
            approvals.approver_system = actors.system
            and approvals.approver_account = actors.account

),

final as (

    select
        in_period.1 as period,
        in_period.2 as period_start,
        coalesce(approver, '') as approver,
        gate,
        count() as decisions,
        countIf(decision = 'approved') as approved,
        countIf(decision = 'rejected') as rejected,
        {{ stats('wait_seconds', 'wait_seconds') }}
    from decisions
    array join {{ period_rows('decided_at') }} as in_period
    where {{ in_dirty('toYYYYMM(in_period.2)') }}
    group by
        period,
        period_start,
        approver,
        gate

)

select * from final
