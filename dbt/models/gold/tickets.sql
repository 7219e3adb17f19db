{{ config(order_by='ticket_key') }}

with issues as (

    select * from {{ ref('jira_issues') }}

),

stages as (

    select * from {{ ref('ticket_stages') }}

),

pull_requests as (

    select * from {{ ref('pull_requests') }}
    where ticket_key != ''

),

reviews as (

    -- A comment by the author is an answer, and a pending review is not given yet.
    select * from {{ ref('pull_request_reviews') }}
    where ticket_key != '' and not is_by_author and state != 'PENDING'

),

traces as (

    select * from {{ ref('traces') }}
    where ticket_key != ''

),

llm_calls as (

    select * from {{ ref('llm_calls') }}
    where ticket_key != ''

),

loaded as (

    select
        (select count() from {{ ref('stg_github__loads') }}) > 0 as is_github_loaded,
        (select count() from {{ ref('stg_langfuse__loads') }}) > 0 as is_langfuse_loaded

),

ticket_keys as (

    select ticket_key from issues
    union distinct
    select ticket_key from pull_requests
    union distinct
    select ticket_key from traces

),

starts as (

    select
        ticket_key,
        min(entered_at) as started_at
    from stages
    where status_category = 'indeterminate'
    group by ticket_key

),

pull_requests_by_ticket as (

    select
        ticket_key,
        count() as pull_requests,
        countIf(is_merged) as merged_pull_requests,
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

traces_by_ticket as (

    select
        ticket_key,
        count() as traces
    from traces
    group by ticket_key

),

calls_by_ticket as (

    select
        ticket_key,
        count() as llm_calls,
        sum(input_tokens) as input_tokens,
        sum(output_tokens) as output_tokens,
        sum(cost_usd) as cost_usd
    from llm_calls
    group by ticket_key

),

final as (

    -- What no loaded source could have told is null; what it could have told and did not is 0.
    select
        ticket_keys.ticket_key as ticket_key,
        issues.project_key as project_key,
        issues.summary as summary,
        issues.issue_type as issue_type,
        issues.status as status,
        issues.status_category as status_category,
        issues.assignee_name as assignee_name,
        issues.created_at as created_at,
        starts.started_at as started_at,
        issues.resolved_at as resolved_at,
        {{ seconds_between('issues.created_at', 'issues.resolved_at') }} as lead_time_seconds,
        {{ seconds_between('starts.started_at', 'issues.resolved_at') }} as cycle_time_seconds,
        if(is_github_loaded, coalesce(pull_requests_by_ticket.pull_requests, 0), null) as pull_requests,
        if(is_github_loaded, coalesce(pull_requests_by_ticket.merged_pull_requests, 0), null) as merged_pull_requests,
        pull_requests_by_ticket.first_commit_at as first_commit_at,
        pull_requests_by_ticket.first_merged_at as first_merged_at,
        if(is_github_loaded, coalesce(reviews_by_ticket.reviews, 0), null) as reviews,
        if(is_github_loaded, coalesce(reviews_by_ticket.changes_requested, 0), null) as changes_requested,
        if(is_langfuse_loaded, coalesce(traces_by_ticket.traces, 0), null) as traces,
        if(is_langfuse_loaded, coalesce(calls_by_ticket.llm_calls, 0), null) as llm_calls,
        if(is_langfuse_loaded, coalesce(calls_by_ticket.input_tokens, 0), null) as input_tokens,
        if(is_langfuse_loaded, coalesce(calls_by_ticket.output_tokens, 0), null) as output_tokens,
        if(is_langfuse_loaded, coalesce(calls_by_ticket.cost_usd, toDecimal128(0, 12)), null) as cost_usd,
        issues.is_done as is_done,
        toBool(issues.ticket_key is not null) as in_jira
    from ticket_keys
    cross join loaded
    left join issues on ticket_keys.ticket_key = issues.ticket_key
    left join starts on ticket_keys.ticket_key = starts.ticket_key
    left join pull_requests_by_ticket on ticket_keys.ticket_key = pull_requests_by_ticket.ticket_key
    left join reviews_by_ticket on ticket_keys.ticket_key = reviews_by_ticket.ticket_key
    left join traces_by_ticket on ticket_keys.ticket_key = traces_by_ticket.ticket_key
    left join calls_by_ticket on ticket_keys.ticket_key = calls_by_ticket.ticket_key

)

select * from final
