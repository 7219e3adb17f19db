{{
    config(
        partition_by='ticket_bucket',
        order_by='(ticket_key, project_id, score_id)',
        dirty=[
            "select ticket_bucket from {{ changes('scores') }}",
            "select ticket_bucket from {{ changes('traces') }}",
            "select ticket_bucket from {{ changes('tickets', 'gold_next') }}",
            "select {{ ticket_bucket('ticket_key') }} from {{ changes('pull_request_flow', 'gold_next') }}",
        ]
    )
}}

with scores as (

    select * from {{ ref('scores') }}
    where {{ in_dirty('ticket_bucket') }}

),

traces as (

    select
        project_id as project_of_trace,
        trace_id as id_of_trace,
        started_at as work_started_at
    from {{ ref('traces') }}
    where
        ticket_key != ''
        and {{ in_dirty('ticket_bucket') }}

),

pull_requests as (

    select
        ticket_key,
        created_at,
        url,
        is_merged,
        is_first_pass,
        first_ci_conclusion,
        is_reverted
    from {{ ref('pull_request_flow') }}
    where
        ticket_key != ''
        and {{ in_dirty(ticket_bucket('ticket_key')) }}

),

tickets as (

    select
        ticket_key,
        in_jira,
        is_done,
        resolution,
        merged_pull_requests
    from {{ ref('tickets') }}
    where {{ in_dirty('ticket_bucket') }}

),

pull_requests_by_ticket as (

    select
        ticket_key as key_of_pull_requests,
        arraySort(
            groupArray((created_at, url, is_merged, is_first_pass, first_ci_conclusion, is_reverted))
        ) as pull_requests
    from pull_requests
    group by key_of_pull_requests

),

judged as (

    -- A score of a session without a trace is about what was done before it was given.
    select
        scores.*,
        coalesce(traces.work_started_at, scores.scored_at) as judged_from
    from scores
    left join traces
        on
            scores.project_id = traces.project_of_trace
            and scores.trace_id = traces.id_of_trace

),

matched as (

    -- The pull request that the work led to: the first one opened after it began, else the one it went on with.
    select
        judged.*,
        if(
            arrayExists(one -> one.1 >= judged.judged_from, pull_requests_by_ticket.pull_requests),
            arrayFilter(one -> one.1 >= judged.judged_from, pull_requests_by_ticket.pull_requests)[1],
            pull_requests_by_ticket.pull_requests[-1]
        ) as pull_request,
        notEmpty(pull_requests_by_ticket.pull_requests) as has_pull_request
    from judged
    left join pull_requests_by_ticket on judged.ticket_key = pull_requests_by_ticket.key_of_pull_requests

),

final as (

    select
        matched.score_id as score_id,
        matched.project_id as project_id,
        matched.score_name as score_name,
        matched.score_source as score_source,
        matched.data_type as data_type,
        matched.value as value,
        matched.string_value as string_value,
        matched.trace_id as trace_id,
        matched.ticket_key as ticket_key,
        matched.ticket_bucket as ticket_bucket,
        matched.stage as stage,
        matched.scored_at as scored_at,
        if(matched.has_pull_request, matched.pull_request.3, null) as is_merged,
        if(matched.has_pull_request, matched.pull_request.4, null) as is_first_pass,
        if(matched.has_pull_request, matched.pull_request.5, null) as first_ci_conclusion,
        if(matched.has_pull_request, matched.pull_request.6, null) as is_reverted,
        if(matched.ticket_key = '', null, {{ ticket_outcome('matched.ticket_key') }}) as ticket_outcome
    from matched
    left join tickets on matched.ticket_key = tickets.ticket_key

)

select * from final
