{{
    config(
        partition_by='toYYYYMM(started_at)',
        order_by='(project_id, trace_id)',
        indexes=[by_bucket()],
        dirty=[
            "select toYYYYMM(started_at) from {{ changes('traces') }}",
            "select toYYYYMM(started_at) from {{ ref('traces') }}
            where {{ in_changed_runs() }}",
        ],
        may_differ='{{ in_changed_runs() }}',
    )
}}

with traces as (

    select * from {{ ref('traces') }}
    where {{ if_partial(in_changed_runs()) }}

),

llm_calls as (

    -- Calls carry the ticket of their trace, by which they are found.
    select * from {{ ref('llm_calls') }}
    where {{ if_partial(key_in(['ticket_bucket', 'ticket_key', 'project_id', 'trace_id'], 'traces')) }}

),

observations as (

    select
        staged.project_id as project_id,
        assumeNotNull(staged.trace_id) as trace_id,
        staged.observation_id as observation_id,
        staged.level as level,
        staged.status_message as status_message,
        staged.started_at as started_at,
        staged.ended_at as ended_at
    from ({{ observations_where(if_partial(in_changed_runs())) }}) as staged
    where staged.trace_id != ''

),

judgements as (

    -- Verdicts of an evaluator on the run as a whole.
    select * from {{ ref('scores') }}
    where
        score_source = 'EVAL'
        and data_type = 'NUMERIC'
        and trace_id != ''
        and coalesce(observation_id, '') = ''
        and {{ if_partial(in_changed_runs()) }}

),

calls_by_trace as (

    select
        project_id,
        trace_id,
        count() as llm_calls,
        sum(input_tokens) as input_tokens,
        sum(output_tokens) as output_tokens,
        sum(total_tokens) as total_tokens,
        sum(cost_usd) as cost_usd
    from llm_calls
    group by
        project_id,
        trace_id

),

observations_by_trace as (

    -- A message is wrapped, because argMax passes over what is null.
    select
        project_id,
        trace_id,
        min(started_at) as first_started_at,
        max(ended_at) as last_ended_at,
        countIf(level = 'ERROR') as errors,
        tupleElement(
            argMaxIf(tuple(status_message), (started_at, observation_id), level = 'ERROR'), 1
        ) as last_error
    from observations
    group by
        project_id,
        trace_id

),

judgements_by_trace as (

    -- Sorted, so that the mean has the same bits in whatever order the rows come.
    select
        project_id,
        assumeNotNull(trace_id) as trace_id,
        arrayAvg(arraySort(groupArray(assumeNotNull(value)))) as judge_score
    from judgements
    where value is not null
    group by
        project_id,
        trace_id

),

runs as (

    select
        traces.project_id as project_id,
        traces.trace_id as trace_id,
        traces.trace_name as trace_name,
        traces.ticket_key as ticket_key,
        traces.ticket_bucket as ticket_bucket,
        nullIf({{ project_of_key('traces.ticket_key') }}, '') as project_key,
        nullIf({{ team_of_project(project_of_key('traces.ticket_key')) }}, '') as team,
        traces.stage as stage,
        traces.link_method as link_method,
        traces.link_confidence as link_confidence,
        nullIf(traces.agent, '') as agent,
        traces.agent_kind as agent_kind,
        traces.attempt as attempt,
        traces.event as event,
        traces.repository as repository,
        traces.environment as environment,
        traces.started_at as started_at,
        coalesce(
            traces.latency_seconds,
            {{ seconds_between('observations_by_trace.first_started_at', 'observations_by_trace.last_ended_at') }}
        ) as duration_seconds,
        toBool(coalesce(observations_by_trace.errors, 0) > 0) as is_failed,
        observations_by_trace.last_error as error,
        coalesce(calls_by_trace.llm_calls, 0) as llm_calls,
        coalesce(calls_by_trace.input_tokens, 0) as input_tokens,
        coalesce(calls_by_trace.output_tokens, 0) as output_tokens,
        coalesce(calls_by_trace.total_tokens, 0) as total_tokens,
        coalesce(calls_by_trace.cost_usd, toDecimal128(0, 12)) as cost_usd,
        toBool(coalesce(traces.attempt > 1, false)) as is_retry,
        judgements_by_trace.judge_score as judge_score
    from traces
    left join calls_by_trace
        on
            traces.project_id = calls_by_trace.project_id
            and traces.trace_id = calls_by_trace.trace_id
    left join observations_by_trace
        on
            traces.project_id = observations_by_trace.project_id
            and traces.trace_id = observations_by_trace.trace_id
    left join judgements_by_trace
        on
            traces.project_id = judgements_by_trace.project_id
            and traces.trace_id = judgements_by_trace.trace_id

),

final as (

    {{ with_kept('runs', in_changed_runs()) }}

)

select * from final
