{{
    config(
        partition_by='toYYYYMM(started_at)',
        order_by='(ticket_bucket, ticket_key, project_id, trace_id, observation_id)',
        indexes=[by_bucket()],
        dirty=["{{ months_of_changed_trees() }}"],
        may_differ='{{ in_changed_trees() }}',
    )
}}

{#- Whether a call counts hangs on the rest of its trace: traces that changed are made anew, calls of others kept. -#}
with observations as (

    -- What is missing of tokens and cost is 0.
    select
        staged.source_name as source_name,
        staged.project_id as project_id,
        staged.observation_id as observation_id,
        coalesce(staged.trace_id, '') as trace_id,
        {{ tree_month('staged.') }} as tree_month,
        coalesce(staged.parent_observation_id, '') as parent_observation_id,
        staged.observation_type as observation_type,
        staged.observation_name as observation_name,
        staged.level as level,
        staged.environment as environment,
        coalesce(staged.model, '') as model,
        coalesce(staged.input_tokens, 0) as input_tokens,
        coalesce(staged.output_tokens, 0) as output_tokens,
        coalesce(
            staged.total_tokens, coalesce(staged.input_tokens, 0) + coalesce(staged.output_tokens, 0)
        ) as total_tokens,
        coalesce(staged.cached_input_tokens, 0) as cached_input_tokens,
        coalesce(staged.cost_usd, toDecimal128(0, 12)) as cost_usd,
        staged.started_at as started_at,
        staged.ended_at as ended_at
    from ({{ observations_of_changed_trees() }}) as staged

),

traces as (

    select * from {{ ref('traces') }}
    where {{ if_partial(key_in(['project_id', 'trace_id'], '(' ~ changed_trees() ~ ')')) }}

),

calls as (

    select * from observations
    where cost_usd != 0 or total_tokens > 0 or observation_type in ('GENERATION', 'EMBEDDING')

),

nested_calls as (

    -- Calls that something is nested in; where there are none, nothing can be counted twice.
    select
        project_id,
        trace_id,
        tree_month
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
        tree_month,
        groupArray(observation_id) as ids,
        arrayMap(id -> indexOf(ids, id), groupArray(parent_observation_id)) as parents,
        -- After so many steps up, what has not come out at the top goes round in a circle.
        arrayFold(
            (here, step) -> arrayDistinct(arrayFilter(at -> at != 0, arrayMap(at -> parents[at], here))),
            range(least(length(ids), 64)),
            range(1, length(ids) + 1)
        ) as circles,
        [
            ('cost', arrayMap(id -> indexOf(ids, id), groupArrayIf(observation_id, cost_usd != 0))),
            ('tokens', arrayMap(id -> indexOf(ids, id), groupArrayIf(observation_id, total_tokens > 0)))
        ] as measures
    from observations
    where (project_id, trace_id, tree_month) in (
        select
            project_id,
            trace_id,
            tree_month
        from nested_calls
    )
    group by
        project_id,
        trace_id,
        tree_month

),

counted_below as (

    -- Everything above something with cost or tokens, found by going up one level a step. 64 levels are deeper than
    -- any trace of sense, and an end for one whose parents form a circle, of which no cost is lost.
    select
        project_id,
        trace_id,
        tree_month,
        tupleElement(measure, 1) as measured,
        arrayJoin(
            arrayMap(
                at -> ids[at],
                arrayFilter(
                    at -> not (has(circles, at) and has(tupleElement(measure, 2), at)),
                    arrayFold(
                        (above, step) -> arrayDistinct(
                            arrayConcat(above, arrayFilter(at -> at != 0, arrayMap(at -> parents[at], above)))
                        ),
                        range(least(length(ids), 64)),
                        arrayDistinct(arrayFilter(at -> at != 0, arrayMap(at -> parents[at], tupleElement(measure, 2))))
                    )
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
        tree_month,
        observation_id,
        countIf(measured = 'cost') > 0 as is_cost_below,
        countIf(measured = 'tokens') > 0 as are_tokens_below
    from counted_below
    group by
        project_id,
        trace_id,
        tree_month,
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
        if(repeats.are_tokens_below, 0, calls.cached_input_tokens) as own_cached_input_tokens,
        coalesce(repeats.is_cost_below or repeats.are_tokens_below, false) as is_above_others
    from calls
    left join repeats
        on
            calls.project_id = repeats.project_id
            and calls.trace_id = repeats.trace_id
            and calls.tree_month = repeats.tree_month
            and calls.observation_id = repeats.observation_id

),

leaves as (

    select * from counted
    where not is_above_others or own_cost_usd != 0 or own_total_tokens > 0

),

counted_calls as (

    select
        leaves.source_name as source_name,
        leaves.project_id as project_id,
        leaves.observation_id as observation_id,
        leaves.trace_id as trace_id,
        leaves.observation_type as observation_type,
        leaves.observation_name as observation_name,
        leaves.level as level,
        toBool(coalesce(leaves.level = 'ERROR', false)) as is_error,
        leaves.environment as environment,
        leaves.model as model,
        coalesce(traces.agent, '') as agent,
        coalesce(traces.agent_kind, 'unknown') as agent_kind,
        coalesce(traces.ticket_key, '') as ticket_key,
        coalesce(traces.ticket_bucket, '') as ticket_bucket,
        coalesce(traces.link_method, 'none') as link_method,
        coalesce(traces.link_confidence, 0) as link_confidence,
        coalesce(traces.stage, '') as stage,
        leaves.own_input_tokens as input_tokens,
        leaves.own_output_tokens as output_tokens,
        leaves.own_total_tokens as total_tokens,
        leaves.own_cached_input_tokens as cached_input_tokens,
        leaves.own_cost_usd as cost_usd,
        {{ seconds_between('leaves.started_at', 'leaves.ended_at') }} as duration_seconds,
        leaves.started_at as started_at,
        leaves.ended_at as ended_at,
        traces.started_at as trace_started_at
    from leaves
    left join traces
        on
            leaves.project_id = traces.project_id
            and leaves.trace_id = traces.trace_id

),

final as (

    {{ with_kept('counted_calls', in_changed_trees()) }}

)

select * from final
