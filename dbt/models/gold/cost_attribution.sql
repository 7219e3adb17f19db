{{
    config(
        partition_by='toYYYYMM(day)',
        order_by='(day, project_id, stage, model)',
        dirty=[
            "select toYYYYMM(started_at) from {{ changes('llm_calls') }}",
            "select toYYYYMM(started_at) from {{ ref('llm_calls') }}
            where {{ key_in(['ticket_bucket', 'ticket_key'], changes('tickets', 'gold_next')) }}",
            "select toYYYYMM(started_at) from {{ ref('llm_calls') }}
            where {{ key_in(['ticket_bucket', 'ticket_key', 'project_id', 'trace_id'], changes('agent_runs', 'gold_next')) }}",
        ]
    )
}}

with llm_calls as (

    select * from {{ ref('llm_calls') }}
    where {{ in_dirty('toYYYYMM(started_at)') }}

),

tickets as (

    select
        ticket_key,
        in_jira,
        is_done,
        resolution,
        merged_pull_requests
    from {{ ref('tickets') }}
    where {{ if_partial('ticket_bucket in (select ticket_bucket from llm_calls)') }}

),

failed_runs as (

    select
        project_id,
        trace_id,
        is_failed
    from {{ ref('agent_runs') }}
    where
        is_failed
        and {{ if_partial(key_in(['project_id', 'trace_id'], 'llm_calls')) }}

),

calls as (

    select
        toDate(llm_calls.started_at) as day,
        llm_calls.project_id as project_id,
        nullIf({{ team_of_project(project_of_key('llm_calls.ticket_key')) }}, '') as team,
        nullIf({{ project_of_key('llm_calls.ticket_key') }}, '') as project_key,
        {{ ticket_outcome('llm_calls.ticket_key') }} as ticket_outcome,
        llm_calls.stage as stage,
        llm_calls.model as model,
        llm_calls.agent_kind as agent_kind,
        llm_calls.link_method as link_method,
        llm_calls.link_confidence as link_confidence,
        toBool(coalesce(failed_runs.is_failed, false)) as is_failed_run,
        llm_calls.input_tokens as input_tokens,
        llm_calls.output_tokens as output_tokens,
        llm_calls.total_tokens as total_tokens,
        llm_calls.cost_usd as cost_usd
    from llm_calls
    left join tickets on llm_calls.ticket_key = tickets.ticket_key
    left join failed_runs
        on
            llm_calls.project_id = failed_runs.project_id
            and llm_calls.trace_id = failed_runs.trace_id

),

final as (

    select
        day,
        project_id,
        team,
        project_key,
        ticket_outcome,
        stage,
        model,
        agent_kind,
        link_method,
        link_confidence,
        is_failed_run,
        count() as llm_calls,
        sum(input_tokens) as input_tokens,
        sum(output_tokens) as output_tokens,
        sum(total_tokens) as total_tokens,
        sum(cost_usd) as cost_usd
    from calls
    group by
        day,
        project_id,
        team,
        project_key,
        ticket_outcome,
        stage,
        model,
        agent_kind,
        link_method,
        link_confidence,
        is_failed_run

)

select * from final
