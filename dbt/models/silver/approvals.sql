{{ config(
    order_by='(ticket_key, gate, decided_at)',
    partition_by='ticket_bucket',
    dirty=[
        'select ticket_bucket from ' ~ changes('ticket_stages'),
        'select ticket_bucket from ' ~ changes('scores')
        ~ " where ticket_key != '' and score_name = {{ sql_string(var('plan_approval_score')) }}",
        'select ' ~ ticket_bucket('ticket_key') ~ ' from ' ~ changes('stg_jira__issues') ~ " where comments not in ('', '[]')",
        "select ticket_bucket from {{ ref('scores') }}"
        ~ " where score_name = {{ sql_string(var('plan_approval_score')) }} and ticket_key != ''"
        ~ ' and ' ~ key_in(['project_id', 'trace_id'], changes('stg_langfuse__traces')),
        'select ticket_bucket from ' ~ changes('pull_requests'),
        'select ticket_bucket from ' ~ changes('pull_request_reviews'),
        'select ticket_bucket from ' ~ changes('pull_request_commits')
    ]
) }}

with stages as (

    select * from {{ ref('ticket_stages') }}
    where {{ in_dirty('ticket_bucket') }}

),

plan_stays as (

    select * from stages
    where {{ matches('status', 'plan_approval_status_pattern') }} and left_at is not null

),

scores as (

    select * from {{ ref('scores') }}
    where
        {{ in_dirty('ticket_bucket') }}
        and ticket_key != ''
        and score_name = {{ sql_string(var('plan_approval_score')) }}
        and value is not null

),

traces as (

    select * from {{ ref('stg_langfuse__traces') }}
    where {{ key_in(['project_id', 'trace_id'], 'scores') }}
    {{ one_row_across_sources('langfuse', 'project_id, trace_id') }}

),

issues as (

    select * from {{ ref('stg_jira__issues') }}
    where
        comments not in ('', '[]')
        and {{ key_in(['source_name', 'issue_id'], 'plan_stays') }}

),

reviews as (

    -- The author's own word approves nothing, and what a bot says is no person's decision.
    select * from {{ ref('pull_request_reviews') }}
    where
        {{ in_dirty('ticket_bucket') }}
        and reviewer_kind = 'human'
        and not is_by_author
        and state in ('APPROVED', 'CHANGES_REQUESTED')
        and submitted_at is not null

),

pull_requests as (

    select * from {{ ref('pull_requests') }}
    where
        {{ in_dirty('ticket_bucket') }}
        and (repository_id, pull_request_number) in (
            select
                repository_id,
                pull_request_number
            from reviews
        )

),

commits as (

    select * from {{ ref('pull_request_commits') }}
    where
        {{ in_dirty('ticket_bucket') }}
        and (repository_id, pull_request_number) in (
            select
                repository_id,
                pull_request_number
            from reviews
        )

),

verdicts_by_score as (

    -- The last word counts: a plan may be refused and then accepted before anybody moves the ticket.
    select
        plan_stays.ticket_key as ticket_key,
        plan_stays.stage_index as stage_index,
        'score' as evidence,
        if(scores.value > 0.5, 'approved', 'rejected') as decision,
        'langfuse' as approver_system,
        coalesce(scores.author_id, nullIf(trimBoth(JSONExtractString(traces.metadata, 'approver')), '')) as account,
        {{ actor_kind('langfuse', 'account') }} as approver_kind,
        nullIf(trimBoth(coalesce(scores.comment, '')), '') as reason
    from plan_stays
    inner join scores on plan_stays.ticket_key = scores.ticket_key
    left join traces on scores.project_id = traces.project_id and scores.trace_id = traces.trace_id
    where scores.scored_at between plan_stays.entered_at and plan_stays.left_at
    order by
        scores.scored_at desc,
        scores.score_id desc
    limit 1 by plan_stays.ticket_key, plan_stays.stage_index

),

comments as (

    select
        source_name,
        issue_id,
        comment_index,
        tupleElement(comment, 'authorId') as author_id,
        tupleElement(comment, 'author') as author_name,
        tupleElement(comment, 'authorType') as author_type,
        tupleElement(comment, 'event') as event,
        nullIf(trimBoth(coalesce(tupleElement(comment, 'body'), '')), '') as body,
        parseDateTime64BestEffortOrNull(tupleElement(comment, 'createdAt'), 6, 'UTC') as commented_at
    from issues
    array join
        JSONExtract(
            comments,
            'Array(Tuple(authorId Nullable(String), author Nullable(String), authorType Nullable(String), '
            || 'createdAt Nullable(String), body Nullable(String), event Nullable(String)))'
        ) as comment,
        arrayEnumerate(JSONExtractArrayRaw(comments)) as comment_index
    where tupleElement(comment, 'event') in ('approval', 'rejection')

),

verdicts_by_comment as (

    select
        plan_stays.ticket_key as ticket_key,
        plan_stays.stage_index as stage_index,
        'comment' as evidence,
        if(comments.event = 'approval', 'approved', 'rejected') as decision,
        'jira' as approver_system,
        comments.author_id as account,
        {{ actor_kind('jira', 'comments.author_id', 'comments.author_name', 'comments.author_type') }} as approver_kind,
        comments.body as reason
    from plan_stays
    inner join comments
        on
            plan_stays.source_name = comments.source_name
            and plan_stays.issue_id = comments.issue_id
    where comments.commented_at between plan_stays.entered_at and plan_stays.left_at
    order by
        comments.commented_at desc,
        comments.comment_index desc
    limit 1 by plan_stays.ticket_key, plan_stays.stage_index

),

verdicts_by_status as (

    -- Work goes on after an approval; back to where the ticket was, to the queue or to its end is a refusal.
    select
        stages.ticket_key as ticket_key,
        toUInt64(stages.stage_index - 1) as stage_index,
        'status' as evidence,
        if(stages.is_reentry or stages.status_kind in ('queue', 'done'), 'rejected', 'approved') as decision,
        'jira' as approver_system,
        stages.entered_by_id as account,
        stages.entered_by_kind as approver_kind,
        cast(null, 'Nullable(String)') as reason
    from stages
    where stages.stage_index > 1

),

verdicts as (

    select * from verdicts_by_score
    union all
    select * from verdicts_by_comment
    union all
    select * from verdicts_by_status

),

plan_decisions as (

    select
        plan_stays.ticket_key as ticket_key,
        plan_stays.ticket_bucket as ticket_bucket,
        'plan' as gate,
        toString(plan_stays.stage_index) as subject,
        toNullable(plan_stays.entered_at) as requested_at,
        assumeNotNull(plan_stays.left_at) as decided_at,
        verdicts.decision as decision,
        verdicts.approver_system as approver_system,
        verdicts.account as approver_account,
        verdicts.approver_kind as approver_kind,
        verdicts.reason as reason,
        verdicts.evidence as evidence
    from plan_stays
    inner join verdicts
        on
            plan_stays.ticket_key = verdicts.ticket_key
            and plan_stays.stage_index = verdicts.stage_index
    order by indexOf(['score', 'comment', 'status'], verdicts.evidence)
    limit 1 by plan_stays.ticket_key, plan_stays.stage_index

),

commit_times as (

    select
        repository_id,
        pull_request_number,
        groupArray(committed_at) as committed_at
    from commits
    group by
        repository_id,
        pull_request_number

),

review_decisions as (

    -- A review is asked for since the pull request is ready and its last commit is there; a review of a draft answers
    -- nobody, so that it has no wait. greatest() ignores the 1970 of no commits.
    select
        reviews.ticket_key as ticket_key,
        reviews.ticket_bucket as ticket_bucket,
        'review' as gate,
        pull_requests.url as subject,
        if(
            pull_requests.ready_at <= reviews.submitted_at,
            greatest(
                pull_requests.ready_at,
                arrayMax(arrayFilter(at -> at < reviews.submitted_at, commit_times.committed_at))
            ),
            null
        ) as requested_at,
        assumeNotNull(reviews.submitted_at) as decided_at,
        if(reviews.state = 'APPROVED', 'approved', 'rejected') as decision,
        'github' as approver_system,
        reviews.reviewer_login as approver_account,
        reviews.reviewer_kind as approver_kind,
        reviews.body as reason,
        'review' as evidence
    from reviews
    inner join pull_requests
        on
            reviews.repository_id = pull_requests.repository_id
            and reviews.pull_request_number = pull_requests.pull_request_number
    left join commit_times
        on
            reviews.repository_id = commit_times.repository_id
            and reviews.pull_request_number = commit_times.pull_request_number

),

decisions as (

    select * from plan_decisions
    union all
    select * from review_decisions

),

final as (

    select
        ticket_key,
        ticket_bucket,
        gate,
        subject,
        requested_at,
        decided_at,
        decision,
        {{ seconds_between('requested_at', 'decided_at') }} as wait_seconds,
        approver_system,
        approver_account,
        approver_kind,
        reason,
        evidence
    from decisions

)

select * from final
