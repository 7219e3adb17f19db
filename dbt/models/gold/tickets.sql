{{ config(
    order_by='ticket_key',
    partition_by='ticket_bucket',
    dirty=[
        changed_buckets('jira_issues'),
        changed_buckets('ticket_stages'),
        changed_buckets('pull_requests'),
        changed_buckets('pull_request_reviews'),
        changed_buckets('pull_request_commits'),
        changed_buckets('agent_runs', 'gold_next'),
        changed_buckets('ticket_costs', 'gold_next'),
        buckets_of_pull_requests(
            'select repository_id, pull_request_number from ' ~ changes('deployment_changes')
        ),
        'select ' ~ ticket_bucket('arrayJoin(caused_by)') ~ ' from ' ~ changes('incidents'),
        "select ticket_bucket from {{ this }} where pull_requests is null and exists (select 1 from {{ ref('stg_github__loads') }})",
        "select ticket_bucket from {{ this }} where agent_runs is null and exists (select 1 from {{ ref('stg_langfuse__loads') }})",
        "select ticket_bucket from {{ this }} where incidents is null and exists (select 1 from {{ ref('stg_jira__loads') }})"
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

pull_requests as (

    select * from {{ ref('pull_requests') }}
    where ticket_key != '' and {{ in_dirty('ticket_bucket') }}

),

reviews as (

    -- A comment by the author is an answer, and a pending review is not given yet.
    select * from {{ ref('pull_request_reviews') }}
    where ticket_key != '' and not is_by_author and state != 'PENDING' and {{ in_dirty('ticket_bucket') }}

),

commits as (

    select * from {{ ref('pull_request_commits') }}
    where ticket_key != '' and {{ in_dirty('ticket_bucket') }}

),

agent_runs as (

    select * from {{ ref('agent_runs') }}
    where ticket_key != '' and {{ in_dirty('ticket_bucket') }}

),

ticket_costs as (

    select * from {{ ref('ticket_costs') }}
    where ticket_key != '' and {{ in_dirty('ticket_bucket') }}

),

deployment_changes as (

    select * from {{ ref('deployment_changes') }}
    where not is_baseline and {{ of_those_pull_requests() }}

),

incidents as (

    select * from {{ ref('incidents') }}

),

loaded as (

    select
        (select count() from {{ ref('stg_github__loads') }}) > 0 as is_github_loaded,
        (select count() from {{ ref('stg_langfuse__loads') }}) > 0 as is_langfuse_loaded,
        (select count() from {{ ref('stg_jira__loads') }}) > 0 as is_jira_loaded

),

ticket_keys as (

    select ticket_key from issues
    union distinct
    select ticket_key from pull_requests
    union distinct
    select ticket_key from agent_runs

),

stays as (

    -- Whole microseconds: their sums are the same in any order.
    select
        stages.*,
        dateDiff(
            'microsecond',
            stages.entered_at,
            least(coalesce(stages.left_at, issues.resolved_at), issues.resolved_at)
        ) as microseconds,
        greatest(coalesce(microseconds, 0), 0) as microseconds_until_resolved
    from stages
    inner join issues on stages.ticket_key = issues.ticket_key

),

stays_by_ticket as (

    select
        ticket_key,
        minOrNullIf(entered_at, status_category = 'indeterminate') as started_at,
        maxOrNullIf(entered_at, left_at is null) as status_entered_at,
        countIf(status_kind = 'done' and left_at is not null) as reopened,
        countIf(is_reentry and entered_by_kind = 'human') as human_reentries,
        sumIf(microseconds_until_resolved, status_kind = 'queue') as queue_microseconds,
        sumIf(microseconds_until_resolved, status_kind = 'active') as active_microseconds,
        sumIf(microseconds_until_resolved, status_kind = 'waiting') as waiting_microseconds
    from stays
    group by ticket_key

),

pull_requests_by_ticket as (

    select
        ticket_key,
        count() as pull_requests,
        countIf(is_merged) as merged_pull_requests,
        countIf(author_kind = 'agent') as agent_pull_requests,
        min(first_commit_at) as first_commit_at,
        min(merged_at) as first_merged_at
    from pull_requests
    group by ticket_key

),

reviews_by_ticket as (

    select
        ticket_key,
        count() as reviews,
        countIf(state = 'CHANGES_REQUESTED') as changes_requested
    from reviews
    group by ticket_key

),

commits_by_ticket as (

    select
        commits.ticket_key as ticket_key,
        countIf(commits.author_kind = 'human') as human_commits,
        countIf(pull_requests.is_merged) as merged_commits,
        countIf(pull_requests.is_merged and commits.author_kind = 'agent') as merged_agent_commits,
        countIf(pull_requests.is_merged and commits.author_kind = 'bot') as merged_bot_commits
    from commits
    inner join pull_requests
        on
            commits.repository_id = pull_requests.repository_id
            and commits.pull_request_number = pull_requests.pull_request_number
    group by commits.ticket_key

),

deployments_by_ticket as (

    select
        pull_requests.ticket_key as ticket_key,
        min(deployment_changes.deployed_at) as first_deployed_at
    from deployment_changes
    inner join pull_requests
        on
            deployment_changes.repository_id = pull_requests.repository_id
            and deployment_changes.pull_request_number = pull_requests.pull_request_number
    group by pull_requests.ticket_key

),

incidents_by_ticket as (

    select
        arrayJoin(arrayDistinct(caused_by)) as ticket_key,
        count() as incidents
    from incidents
    group by ticket_key

),

runs_by_ticket as (

    select
        ticket_key,
        count() as agent_runs,
        sumIf(cost_usd, is_failed) as failed_cost_usd
    from agent_runs
    group by ticket_key

),

costs_by_ticket as (

    select
        ticket_key,
        sum(llm_calls) as llm_calls,
        sum(input_tokens) as input_tokens,
        sum(output_tokens) as output_tokens,
        sum(total_tokens) as total_tokens,
        sum(cost_usd) as cost_usd
    from ticket_costs
    group by ticket_key

),

final as (

    -- What no loaded source could have told is null; what it could have told and did not is 0.
    select
        ticket_keys.ticket_key as ticket_key,
        {{ ticket_bucket('ticket_keys.ticket_key') }} as ticket_bucket,
        issues.project_key as project_key,
        nullIf(issues.team, '') as team,
        issues.summary as summary,
        issues.issue_type as issue_type,
        issues.is_incident as is_incident,
        issues.story_points as story_points,
        issues.status as status,
        issues.status_category as status_category,
        stays_by_ticket.status_entered_at as status_entered_at,
        issues.resolution as resolution,
        issues.reporter_name as reporter_name,
        issues.assignee_name as assignee_name,
        issues.created_at as created_at,
        stays_by_ticket.started_at as started_at,
        issues.resolved_at as resolved_at,
        {{ seconds_between('issues.created_at', 'issues.resolved_at') }} as lead_time_seconds,
        {{ seconds_between('stays_by_ticket.started_at', 'issues.resolved_at') }} as cycle_time_seconds,
        if(issues.resolved_at is null, null, stays_by_ticket.queue_microseconds / 1e6) as queue_seconds,
        if(issues.resolved_at is null, null, stays_by_ticket.active_microseconds / 1e6) as active_seconds,
        if(issues.resolved_at is null, null, stays_by_ticket.waiting_microseconds / 1e6) as waiting_seconds,
        if(issues.resolved_at is null, null, stays_by_ticket.active_microseconds) / nullIf(
            stays_by_ticket.queue_microseconds
            + stays_by_ticket.active_microseconds
            + stays_by_ticket.waiting_microseconds,
            0
        ) as flow_efficiency,
        if(in_jira, coalesce(stays_by_ticket.reopened, 0), null) as reopened,
        if(is_github_loaded, coalesce(pull_requests_by_ticket.pull_requests, 0), null) as pull_requests,
        if(is_github_loaded, coalesce(pull_requests_by_ticket.merged_pull_requests, 0), null) as merged_pull_requests,
        pull_requests_by_ticket.first_commit_at as first_commit_at,
        pull_requests_by_ticket.first_merged_at as first_merged_at,
        deployments_by_ticket.first_deployed_at as first_deployed_at,
        if(is_github_loaded, coalesce(reviews_by_ticket.reviews, 0), null) as reviews,
        if(is_github_loaded, coalesce(reviews_by_ticket.changes_requested, 0), null) as changes_requested,
        if(is_jira_loaded, coalesce(incidents_by_ticket.incidents, 0), null) as incidents,
        if(is_langfuse_loaded, coalesce(runs_by_ticket.agent_runs, 0), null) as traces,
        if(is_langfuse_loaded, coalesce(runs_by_ticket.agent_runs, 0), null) as agent_runs,
        if(is_langfuse_loaded, coalesce(costs_by_ticket.llm_calls, 0), null) as llm_calls,
        if(is_langfuse_loaded, coalesce(costs_by_ticket.input_tokens, 0), null) as input_tokens,
        if(is_langfuse_loaded, coalesce(costs_by_ticket.output_tokens, 0), null) as output_tokens,
        if(is_langfuse_loaded, coalesce(costs_by_ticket.total_tokens, 0), null) as total_tokens,
        if(is_langfuse_loaded, coalesce(costs_by_ticket.cost_usd, toDecimal128(0, 12)), null) as cost_usd,
        if(is_langfuse_loaded, coalesce(runs_by_ticket.failed_cost_usd, toDecimal128(0, 12)), null) as failed_cost_usd,
        toBool(commits_by_ticket.human_commits > 0) as has_human_commit,
        multiIf(
            coalesce(commits_by_ticket.merged_commits, 0) = 0, null,
            merged_commits = merged_bot_commits, 'bot',
            merged_commits = merged_bot_commits + merged_agent_commits, 'agent',
            merged_agent_commits = 0, 'human',
            'mixed'
        ) as delivered_by,
        if(
            issues.is_done and pull_requests_by_ticket.merged_pull_requests > 0,
            toBool(
                pull_requests_by_ticket.pull_requests = pull_requests_by_ticket.agent_pull_requests
                and coalesce(commits_by_ticket.human_commits, 0) = 0
                and coalesce(stays_by_ticket.human_reentries, 0) = 0
            ),
            null
        ) as is_autonomous,
        issues.is_done as is_done,
        toBool(issues.ticket_key is not null) as in_jira
    from ticket_keys
    cross join loaded
    left join issues on ticket_keys.ticket_key = issues.ticket_key
    left join stays_by_ticket on ticket_keys.ticket_key = stays_by_ticket.ticket_key
    left join pull_requests_by_ticket on ticket_keys.ticket_key = pull_requests_by_ticket.ticket_key
    left join reviews_by_ticket on ticket_keys.ticket_key = reviews_by_ticket.ticket_key
    left join commits_by_ticket on ticket_keys.ticket_key = commits_by_ticket.ticket_key
    left join deployments_by_ticket on ticket_keys.ticket_key = deployments_by_ticket.ticket_key
    left join incidents_by_ticket on ticket_keys.ticket_key = incidents_by_ticket.ticket_key
    left join runs_by_ticket on ticket_keys.ticket_key = runs_by_ticket.ticket_key
    left join costs_by_ticket on ticket_keys.ticket_key = costs_by_ticket.ticket_key

)

select * from final
