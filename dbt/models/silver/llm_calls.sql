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

    -- A trace as arrays: its observations, for each the position of its parent (0: none), and those that are billed.
    select
        project_id,
        trace_id,
        groupArray(observation_id) as ids,
        arrayMap(id -> indexOf(ids, id), groupArray(parent_observation_id)) as parents,
        arrayMap(id -> indexOf(ids, id), groupArrayIf(observation_id, is_billed)) as billed
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

    -- Everything above something billed, found by going up one level a step. 64 levels are deeper than any trace of
    -- sense, and an end for one whose parents form a circle.
    select
        project_id,
        trace_id,
        arrayJoin(
            arrayMap(
                at -> ids[at],
                arrayFold(
                    (above, step) -> arrayDistinct(
                        arrayConcat(above, arrayFilter(at -> at != 0, arrayMap(at -> parents[at], above)))
                    ),
                    range(least(length(ids), 64)),
                    arrayDistinct(arrayFilter(at -> at != 0, arrayMap(at -> parents[at], billed)))
                )
            )
        ) as observation_id
    from trees

),

leaves as (

    -- A parent may repeat the cost of its children, so cost and tokens count at the deepest observation that has any.
    select * from calls
    where (project_id, trace_id, observation_id) not in (
        select
            project_id,
            trace_id,
            observation_id
        from counted_below
    )

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
        leaves.input_tokens as input_tokens,
        leaves.output_tokens as output_tokens,
        leaves.total_tokens as total_tokens,
        leaves.cost_usd as cost_usd,
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
