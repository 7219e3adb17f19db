{{ config(
    order_by='(ticket_key, sequence)',
    partition_by='ticket_bucket',
    dirty=[
        changed_buckets('jira_issues'),
        changed_buckets('ticket_stages'),
        changed_buckets('agent_runs', 'gold_next'),
        changed_buckets('scores'),
        changed_buckets('approvals'),
        changed_buckets('pull_requests'),
        changed_buckets('pull_request_commits'),
        changed_buckets('pull_request_events'),
        changed_buckets('pull_request_reviews'),
        changed_buckets('ci_runs'),
        'select ' ~ ticket_bucket('arrayJoin(caused_by)') ~ ' from ' ~ changes('incidents'),
        buckets_of_pull_requests(
            'select repository_id, pull_request_number from ' ~ changes('deployment_changes')
            ~ " union distinct select repository_id, pull_request_number from {{ ref('deployment_changes') }}"
            ~ ' where deployment_key in (select deployment_key from ' ~ changes('deployments') ~ ')'
            ~ " union distinct select repository_id, pull_request_number from {{ ref('pull_request_commits') }}"
            ~ ' where (select count() from ' ~ changes('deployments') ~ ') > 0'
            ~ ' and oid in (select sha from ' ~ changes('deployments') ~ ')'
            ~ " union distinct select repository_id, pull_request_number from {{ ref('pull_requests') }}"
            ~ ' where merge_commit_sha in (select sha from ' ~ changes('deployments') ~ ')'
            ~ ' or head_sha in (select sha from ' ~ changes('deployments') ~ ')'
        )
    ]
) }}

with issues as (

    select * from {{ ref('jira_issues') }}
    where {{ in_dirty('ticket_bucket') }}

),

stages as (

    select * from {{ ref('ticket_stages') }}
    where {{ in_dirty('ticket_bucket') }}

),

approvals as (

    select * from {{ ref('approvals') }}
    where ticket_key != '' and {{ in_dirty('ticket_bucket') }}

),

agent_runs as (

    select * from {{ ref('agent_runs') }}
    where ticket_key != '' and {{ in_dirty('ticket_bucket') }}

),

scores as (

    select * from {{ ref('scores') }}
    where ticket_key != '' and {{ in_dirty('ticket_bucket') }}

),

pull_requests as (

    select
        *,
        concat(repository, '#', toString(pull_request_number)) as short_name
    from {{ ref('pull_requests') }}
    where ticket_key != '' and {{ in_dirty('ticket_bucket') }}

),

commits as (

    select * from {{ ref('pull_request_commits') }}
    where ticket_key != '' and {{ in_dirty('ticket_bucket') }}

),

events as (

    select * from {{ ref('pull_request_events') }}
    where
        ticket_key != ''
        and event_type in ('ready_for_review', 'head_ref_force_pushed', 'closed')
        and {{ in_dirty('ticket_bucket') }}

),

reviews as (

    select * from {{ ref('pull_request_reviews') }}
    where ticket_key != '' and state != 'PENDING' and {{ in_dirty('ticket_bucket') }}

),

ci_runs as (

    select * from {{ ref('ci_runs') }}
    where ticket_key != '' and {{ in_dirty('ticket_bucket') }}

),

deployment_changes as (

    select * from {{ ref('deployment_changes') }}
    where {{ of_those_pull_requests() }}

),

deployments as (

    select * from {{ ref('deployments') }}

),

incidents as (

    select
        arrayJoin(arrayDistinct(caused_by)) as ticket_key,
        incident_key,
        title,
        opened_at,
        resolved_at,
        evidence,
        if(kind = 'ticket', 'jira', 'github') as source
    from {{ ref('incidents') }}

),

-- What Jira tells

created as (

    select
        ticket_key,
        toNullable(created_at) as at,
        'created' as kind,
        reporter_name as actor,
        reporter_kind as actor_kind,
        summary as title,
        toNullable(issue_type) as detail,
        ticket_key as ref,
        'jira' as source
    from issues

),

moves as (

    select
        ticket_key,
        stage_index,
        entered_at,
        entered_by_name,
        entered_by_kind,
        status as to_status,
        lagInFrame(status, 1, '') over (
            partition by ticket_key
            order by stage_index
            rows between unbounded preceding and current row
        ) as from_status
    from stages

),

status_changed as (

    select
        ticket_key,
        toNullable(entered_at) as at,
        'status_changed' as kind,
        entered_by_name as actor,
        entered_by_kind as actor_kind,
        concat(from_status, ' -> ', to_status) as title,
        cast(null, 'Nullable(String)') as detail,
        concat(ticket_key, '/', toString(stage_index)) as ref,
        'jira' as source
    from moves
    where stage_index > 1

),

resolved as (

    select
        ticket_key,
        resolved_at as at,
        'resolved' as kind,
        cast(null, 'Nullable(String)') as actor,
        'unknown' as actor_kind,
        coalesce(resolution, '') as title,
        cast(null, 'Nullable(String)') as detail,
        ticket_key as ref,
        'jira' as source
    from issues

),

plan_decided as (

    select
        ticket_key,
        toNullable(decided_at) as at,
        'plan_decided' as kind,
        approver_account as actor,
        approver_kind as actor_kind,
        decision as title,
        reason as detail,
        concat(ticket_key, '/', subject) as ref,
        if(evidence = 'score', 'langfuse', 'jira') as source
    from approvals
    where gate = 'plan'

),

-- What Langfuse tells

agent_run as (

    select
        ticket_key,
        toNullable(started_at) as at,
        'agent_run' as kind,
        agent as actor,
        agent_kind as actor_kind,
        coalesce(nullIf(stage, ''), trace_name, '') as title,
        error as detail,
        trace_id as ref,
        'langfuse' as source,
        toNullable(duration_seconds) as duration_seconds,
        toNullable(cost_usd) as cost_usd,
        toNullable(total_tokens) as tokens,
        cast(null, 'Nullable(Float64)') as value
    from agent_runs

),

score as (

    select
        ticket_key,
        toNullable(scored_at) as at,
        'score' as kind,
        author_id as actor,
        {{ actor_kind('langfuse', 'author_id') }} as actor_kind,
        score_name as title,
        toNullable(arrayStringConcat(
            arrayFilter(part -> part != '', [coalesce(string_value, ''), coalesce(comment, '')]), ': '
        )) as detail,
        score_id as ref,
        'langfuse' as source,
        cast(null, 'Nullable(Float64)') as duration_seconds,
        cast(null, 'Nullable(Decimal(38, 12))') as cost_usd,
        cast(null, 'Nullable(Int64)') as tokens,
        value
    from scores

),

-- What GitHub tells

pull_request_opened as (

    select
        ticket_key,
        toNullable(created_at) as at,
        'pull_request_opened' as kind,
        author_login as actor,
        author_kind as actor_kind,
        title,
        toNullable(short_name) as detail,
        url as ref,
        'github' as source
    from pull_requests

),

commits_pushed as (

    select
        pull_requests.ticket_key as ticket_key,
        coalesce(commits.committed_at, commits.authored_at) as at,
        'commits_pushed' as kind,
        coalesce(commits.author_login, commits.author_email) as actor,
        commits.author_kind as actor_kind,
        commits.subject as title,
        toNullable(pull_requests.short_name) as detail,
        concat(pull_requests.url, '/commits/', commits.oid) as ref,
        'github' as source
    from commits
    inner join pull_requests
        on
            commits.repository_id = pull_requests.repository_id
            and commits.pull_request_number = pull_requests.pull_request_number

),

ready_for_review_or_force_pushed as (

    select
        pull_requests.ticket_key as ticket_key,
        toNullable(events.happened_at) as at,
        if(events.event_type = 'ready_for_review', 'ready_for_review', 'force_pushed') as kind,
        events.actor_login as actor,
        events.actor_kind as actor_kind,
        pull_requests.title as title,
        toNullable(pull_requests.short_name) as detail,
        pull_requests.url as ref,
        'github' as source
    from events
    inner join pull_requests
        on
            events.repository_id = pull_requests.repository_id
            and events.pull_request_number = pull_requests.pull_request_number
    where events.event_type in ('ready_for_review', 'head_ref_force_pushed')

),

reviewed as (

    select
        pull_requests.ticket_key as ticket_key,
        reviews.submitted_at as at,
        'reviewed' as kind,
        reviews.reviewer_login as actor,
        reviews.reviewer_kind as actor_kind,
        reviews.state as title,
        toNullable(pull_requests.short_name) as detail,
        concat(pull_requests.url, '#review-', toString(reviews.review_index)) as ref,
        'github' as source
    from reviews
    inner join pull_requests
        on
            reviews.repository_id = pull_requests.repository_id
            and reviews.pull_request_number = pull_requests.pull_request_number

),

merged as (

    select
        ticket_key,
        merged_at as at,
        'merged' as kind,
        merged_by_login as actor,
        merged_by_kind as actor_kind,
        title,
        toNullable(short_name) as detail,
        url as ref,
        'github' as source
    from pull_requests

),

closings as (

    -- A pull request may be closed, opened again and closed again; the last time counts.
    select
        repository_id,
        pull_request_number,
        tupleElement(argMax(tuple(actor_login), (happened_at, event_index)), 1) as actor_login,
        argMax(actor_kind, (happened_at, event_index)) as actor_kind
    from events
    where event_type = 'closed'
    group by
        repository_id,
        pull_request_number

),

closed as (

    select
        pull_requests.ticket_key as ticket_key,
        pull_requests.closed_at as at,
        'closed' as kind,
        closings.actor_login as actor,
        coalesce(closings.actor_kind, 'unknown') as actor_kind,
        pull_requests.title as title,
        toNullable(pull_requests.short_name) as detail,
        pull_requests.url as ref,
        'github' as source
    from pull_requests
    left join closings
        on
            pull_requests.repository_id = closings.repository_id
            and pull_requests.pull_request_number = closings.pull_request_number
    where not pull_requests.is_merged

),

ci_run as (

    select
        ticket_key,
        coalesce(started_at, run_created_at) as at,
        'ci_run' as kind,
        actor_login as actor,
        actor_kind,
        workflow_name as title,
        conclusion as detail,
        concat(repository, '/actions/runs/', toString(run_id), '/attempts/', toString(run_attempt)) as ref,
        'github' as source,
        duration_seconds,
        cast(null, 'Nullable(Decimal(38, 12))') as cost_usd,
        cast(null, 'Nullable(Int64)') as tokens,
        cast(null, 'Nullable(Float64)') as value
    from ci_runs

),

revisions as (

    -- The commits that stand for a ticket's change, on its branch and where it was merged to.
    select
        ticket_key,
        repository_id,
        coalesce(merge_commit_sha, '') as sha
    from pull_requests
    union distinct
    select
        ticket_key,
        repository_id,
        head_sha as sha
    from pull_requests
    union distinct
    select
        ticket_key,
        repository_id,
        oid as sha
    from commits

),

carriers as (

    select
        revisions.ticket_key as ticket_key,
        deployments.deployment_key as deployment_key
    from deployments
    inner join revisions
        on
            deployments.repository_id = revisions.repository_id
            and deployments.sha = revisions.sha
    where deployments.sha != ''
    union distinct
    select
        pull_requests.ticket_key as ticket_key,
        deployment_changes.deployment_key as deployment_key
    from deployment_changes
    inner join pull_requests
        on
            deployment_changes.repository_id = pull_requests.repository_id
            and deployment_changes.pull_request_number = pull_requests.pull_request_number

),

deployed as (

    select
        carriers.ticket_key as ticket_key,
        coalesce(deployments.finished_at, deployments.created_at) as at,
        'deployed' as kind,
        deployments.creator_login as actor,
        deployments.creator_kind as actor_kind,
        deployments.repository as title,
        toNullable(concat(deployments.environment, ' ', deployments.outcome)) as detail,
        deployments.deployment_key as ref,
        'github' as source
    from deployments
    inner join carriers on deployments.deployment_key = carriers.deployment_key

),

-- What Jira and GitHub tell of harm

incident_opened as (

    select
        ticket_key,
        toNullable(opened_at) as at,
        'incident_opened' as kind,
        cast(null, 'Nullable(String)') as actor,
        'unknown' as actor_kind,
        title,
        toNullable(evidence) as detail,
        incident_key as ref,
        source
    from incidents

),

incident_resolved as (

    select
        ticket_key,
        resolved_at as at,
        'incident_resolved' as kind,
        cast(null, 'Nullable(String)') as actor,
        'unknown' as actor_kind,
        title,
        toNullable(evidence) as detail,
        incident_key as ref,
        source
    from incidents

),

moments as (

    select * from created
    union all
    select * from status_changed
    union all
    select * from resolved
    union all
    select * from plan_decided
    union all
    select * from pull_request_opened
    union all
    select * from commits_pushed
    union all
    select * from ready_for_review_or_force_pushed
    union all
    select * from reviewed
    union all
    select * from merged
    union all
    select * from closed
    union all
    select * from deployed
    union all
    select * from incident_opened
    union all
    select * from incident_resolved

),

entries as (

    select
        *,
        cast(null, 'Nullable(Float64)') as duration_seconds,
        cast(null, 'Nullable(Decimal(38, 12))') as cost_usd,
        cast(null, 'Nullable(Int64)') as tokens,
        cast(null, 'Nullable(Float64)') as value
    from moments
    union all
    select * from agent_run
    union all
    select * from score
    union all
    select * from ci_run

),

timed as (

    select * from entries
    where at is not null

),

final as (

    select
        ticket_key,
        {{ ticket_bucket('ticket_key') }} as ticket_bucket,
        assumeNotNull(at) as at,
        row_number() over (
            partition by ticket_key
            order by at, kind, ref, title, detail
        ) as sequence,
        kind,
        -- GitHub's two interfaces write the same app with and without [bot].
        if(source = 'github', nullIf({{ plain_account('github', 'actor') }}, ''), actor) as actor,
        actor_kind,
        title,
        nullIf(detail, '') as detail,
        ref,
        source,
        duration_seconds,
        cost_usd,
        tokens,
        value
    from timed

)

select * from final
