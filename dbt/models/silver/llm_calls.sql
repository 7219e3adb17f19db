{{ config(order_by='(project_id, observation_id)') }}

with observations as (

    select * from {{ ref('observations') }}

),

traces as (

    select * from {{ ref('traces') }}

),

calls as (

    select * from observations
    where is_billed or observation_type in ('GENERATION', 'EMBEDDING')

),

nested_calls as (

    -- Calls that something is nested in; where there are none, nothing can be counted twice.
    select
        project_id,
        trace_id
    from calls
    where (project_id, observation_id) in (
        select
            project_id,
            parent_observation_id
        from observations
        where parent_observation_id != ''
    )

),

trees as (

    -- A trace as arrays: its observations, for each the position of its parent (0: none), those with cost and those
    -- with tokens.
    select
        project_id,
        trace_id,
        groupArray(observation_id) as ids,
        arrayMap(id -> indexOf(ids, id), groupArray(parent_observation_id)) as parents,
        [
            ('cost', arrayMap(id -> indexOf(ids, id), groupArrayIf(observation_id, cost_usd != 0))),
            ('tokens', arrayMap(id -> indexOf(ids, id), groupArrayIf(observation_id, total_tokens > 0)))
        ] as measures
    from observations
    where (project_id, trace_id) in (
        select
            project_id,
            trace_id
        from nested_calls
    )
    group by
        project_id,
        trace_id

),

counted_below as (

    -- Everything above something with cost or tokens, found by going up one level a step. 64 levels are deeper than
    -- any trace of sense, and an end for one whose parents form a circle.
    select
        project_id,
        trace_id,
        tupleElement(measure, 1) as measured,
        arrayJoin(
            arrayMap(
                at -> ids[at],
                arrayFold(
                    (above, step) -> arrayDistinct(
                        arrayConcat(above, arrayFilter(at -> at != 0, arrayMap(at -> parents[at], above)))
                    ),
                    range(least(length(ids), 64)),
                    arrayDistinct(arrayFilter(at -> at != 0, arrayMap(at -> parents[at], tupleElement(measure, 2))))
                )
            )
        ) as observation_id
    from trees
    array join measures as measure

),

repeats as (

    select
        project_id,
        trace_id,
        observation_id,
        countIf(measured = 'cost') > 0 as is_cost_below,
        countIf(measured = 'tokens') > 0 as are_tokens_below
    from counted_below
    group by
        project_id,
        trace_id,
        observation_id

),

counted as (

    -- A parent may repeat what its children say, so cost counts at the deepest observation that has cost, and tokens at
    -- the deepest that has tokens: often, but not always, the same (a model without a known price has tokens only).
    select
        calls.*,
        if(repeats.is_cost_below, toDecimal128(0, 12), calls.cost_usd) as own_cost_usd,
        if(repeats.are_tokens_below, 0, calls.input_tokens) as own_input_tokens,
        if(repeats.are_tokens_below, 0, calls.output_tokens) as own_output_tokens,
        if(repeats.are_tokens_below, 0, calls.total_tokens) as own_total_tokens,
        coalesce(repeats.is_cost_below or repeats.are_tokens_below, false) as is_above_others
    from calls
    left join repeats
        on
            calls.project_id = repeats.project_id
            and calls.trace_id = repeats.trace_id
            and calls.observation_id = repeats.observation_id

),

leaves as (

    select * from counted
    where not is_above_others or own_cost_usd != 0 or own_total_tokens > 0

),

final as (

    select
        leaves.source_name as source_name,
        leaves.project_id as project_id,
        leaves.observation_id as observation_id,
        leaves.trace_id as trace_id,
        leaves.observation_type as observation_type,
        leaves.observation_name as observation_name,
        leaves.level as level,
        leaves.model as model,
        coalesce(traces.ticket_key, '') as ticket_key,
        coalesce(traces.link_method, 'none') as link_method,
        coalesce(traces.stage, '') as stage,
        leaves.own_input_tokens as input_tokens,
        leaves.own_output_tokens as output_tokens,
        leaves.own_total_tokens as total_tokens,
        leaves.own_cost_usd as cost_usd,
        {{ seconds_between('leaves.started_at', 'leaves.ended_at') }} as duration_seconds,
        leaves.started_at as started_at,
        leaves.ended_at as ended_at
    from leaves
    left join traces
        on
            leaves.project_id = traces.project_id
            and leaves.trace_id = traces.trace_id

)

select * from final
