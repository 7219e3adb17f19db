{{ config(
    order_by='ticket_key',
    partition_by='ticket_bucket',
    dirty=[
        'select ticket_bucket from ' ~ changes('jira_issues'),
        'select ticket_bucket from ' ~ changes('ticket_stages'),
        'select ticket_bucket from ' ~ changes('approvals') ~ " where ticket_key != ''",
        'select ' ~ ticket_bucket('ticket_key') ~ ' from ' ~ changes('pull_request_flow', 'gold_next') ~ " where ticket_key != ''",
        "select ticket_bucket from {{ this }}"
        ~ " where review_rejections is null and exists (select 1 from {{ ref('stg_github__loads') }})"
    ]
) }}

with tickets as (

    -- An epic is not delivered itself, its tickets are.
    select * from {{ ref('jira_issues') }}
    where {{ in_dirty('ticket_bucket') }} and issue_type != 'Epic'

),

stages as (

    select * from {{ ref('ticket_stages') }}
    where {{ in_dirty('ticket_bucket') }}

),

approvals as (

    select * from {{ ref('approvals') }}
    where {{ in_dirty('ticket_bucket') }} and ticket_key != ''

),

pull_requests as (

    select * from {{ ref('pull_request_flow') }}
    where {{ in_dirty(ticket_bucket('ticket_key')) }} and ticket_key != ''

),

loaded as (

    select count() > 0 as is_github_loaded
    from {{ ref('stg_github__loads') }}

),

plans_requested as (

    -- A ticket that waits for the first decision on its plan has been asked about too.
    select
        ticket_key,
        min(entered_at) as plan_requested_at
    from stages
    where {{ matches('status', 'plan_approval_status_pattern') }}
    group by ticket_key

),

decisions_by_ticket as (

    -- Whole microseconds: their sums are the same in any order.
    select
        ticket_key,
        minOrNullIf(decided_at, gate = 'plan' and decision = 'approved') as plan_approved_at,
        sumOrNullIf(dateDiff('microsecond', requested_at, decided_at), gate = 'plan') / 1e6 as plan_wait_seconds,
        countIf(gate = 'plan' and decision = 'rejected') as plan_rejections,
        countIf(gate = 'review' and decision = 'rejected') as review_rejections,
        arrayMap(
            rejection -> rejection.4,
            arraySort(
                groupArrayIf(
                    (decided_at, gate, subject, coalesce(reason, '')), decision = 'rejected' and reason is not null
                )
            )
        ) as rejection_reasons
    from approvals
    group by ticket_key

),

pull_requests_by_ticket as (

    select
        ticket_key,
        min(created_at) as pull_request_opened_at,
        min(first_human_reviewed_at) as first_reviewed_at,
        min(approved_at) as approved_at,
        min(merged_at) as merged_at,
        min(deployed_at) as deployed_at
    from pull_requests
    group by ticket_key

),

first_reviewed as (

    -- The wait for a review is that of the pull request that was reviewed first.
    select
        ticket_key,
        ready_at
    from pull_requests
    where first_human_reviewed_at is not null
    order by
        first_human_reviewed_at,
        repository_id,
        pull_request_number
    limit 1 by ticket_key

),

gates as (

    select
        tickets.ticket_key as ticket_key,
        tickets.ticket_bucket as ticket_bucket,
        toNullable(tickets.project_key) as project_key,
        nullIf(tickets.team, '') as team,
        toNullable(tickets.issue_type) as issue_type,
        toNullable(tickets.created_at) as proposed_at,
        plans_requested.plan_requested_at as plan_requested_at,
        decisions.plan_approved_at as plan_approved_at,
        pull_requests.pull_request_opened_at as pull_request_opened_at,
        first_reviewed.ready_at as ready_at,
        pull_requests.first_reviewed_at as first_reviewed_at,
        pull_requests.approved_at as approved_at,
        pull_requests.merged_at as merged_at,
        pull_requests.deployed_at as deployed_at,
        decisions.plan_wait_seconds as plan_wait_seconds,
        coalesce(decisions.plan_rejections, 0) as plan_rejections,
        if(loaded.is_github_loaded, coalesce(decisions.review_rejections, 0), null) as review_rejections,
        decisions.rejection_reasons as rejection_reasons
    from tickets
    cross join loaded
    left join plans_requested on tickets.ticket_key = plans_requested.ticket_key
    left join decisions_by_ticket as decisions on tickets.ticket_key = decisions.ticket_key
    left join pull_requests_by_ticket as pull_requests on tickets.ticket_key = pull_requests.ticket_key
    left join first_reviewed on tickets.ticket_key = first_reviewed.ticket_key

),

final as (

    select
        ticket_key,
        ticket_bucket,
        project_key,
        team,
        issue_type,
        proposed_at,
        plan_requested_at,
        plan_approved_at,
        pull_request_opened_at,
        first_reviewed_at,
        approved_at,
        merged_at,
        deployed_at,
        plan_wait_seconds,
        {{ seconds_between('coalesce(plan_approved_at, proposed_at)', 'pull_request_opened_at') }} as open_wait_seconds,
        {{ seconds_between('ready_at', 'first_reviewed_at') }} as review_wait_seconds,
        {{ seconds_between('first_reviewed_at', 'approved_at') }} as approve_wait_seconds,
        {{ seconds_between('approved_at', 'merged_at') }} as merge_wait_seconds,
        {{ seconds_between('merged_at', 'deployed_at') }} as deploy_wait_seconds,
        plan_rejections,
        review_rejections,
        rejection_reasons,
        multiIf(
            deployed_at is not null, 'deployed',
            merged_at is not null, 'merged',
            approved_at is not null, 'approved',
            first_reviewed_at is not null, 'reviewed',
            pull_request_opened_at is not null, 'pull_request_opened',
            plan_approved_at is not null, 'plan_approved',
            'proposed'
        ) as reached
    from gates

)

select * from final
