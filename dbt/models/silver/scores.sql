{{
    config(
        partition_by='toYYYYMM(scored_at)',
        order_by='(ticket_bucket, ticket_key, project_id, score_id)',
        indexes=[by_bucket()],
        dirty=[
            "{{ partitions_across_sources('stg_langfuse__scores', 'langfuse', 'project_id, score_id', 'toYYYYMM(scored_at)') }}",
            "select toYYYYMM(scored_at) from {{ this }}
            where {{ key_in(['project_id', 'trace_id'], changes('traces')) }}",
            "select toYYYYMM(scored_at) from {{ this }}
            where {{ names_moved_ticket('[' ~ whole_ticket_key(\"coalesce(session_id, '')\") ~ ']') }}",
        ]
    )
}}

with scores as (

    {{ rows_across_sources('stg_langfuse__scores', 'langfuse', 'project_id, score_id', 'toYYYYMM(scored_at)') }}

),

traces as (

    select
        project_id as project_of_trace,
        trace_id as id_of_trace,
        ticket_key as ticket_of_trace,
        link_method as method_of_trace,
        stage as stage_of_trace
    from {{ ref('traces') }}
    where {{ if_partial(key_in(['project_id', 'trace_id'], 'scores')) }}

),

moved_tickets as (

    {{ moved_tickets() }}

),

keyed as (

    -- A verdict on a session may name no trace; the session is then all that can tell its ticket.
    select
        *,
        {{ whole_ticket_key("coalesce(session_id, '')") }} as key_in_session
    from scores

),

linked as (

    select
        keyed.*,
        coalesce(moved_tickets.current_key, keyed.key_in_session) as ticket_of_session,
        coalesce(traces.ticket_of_trace, '') as ticket_by_trace,
        coalesce(traces.method_of_trace, 'none') as method_by_trace,
        coalesce(traces.stage_of_trace, '') as stage_by_trace
    from keyed
    left join moved_tickets on keyed.key_in_session = moved_tickets.former_key
    left join traces
        on
            keyed.project_id = traces.project_of_trace
            and keyed.trace_id = traces.id_of_trace

),

final as (

    select
        source_name,
        project_id,
        score_id,
        score_name,
        score_source,
        data_type,
        value,
        string_value,
        trace_id,
        observation_id,
        session_id,
        if(ticket_by_trace != '', ticket_by_trace, ticket_of_session) as ticket_key,
        {{ ticket_bucket('ticket_key') }} as ticket_bucket,
        stage_by_trace as stage,
        multiIf(
            ticket_by_trace != '', method_by_trace,
            ticket_of_session != '', 'session',
            'none'
        ) as link_method,
        author_user_id as author_id,
        comment,
        scored_at
    from linked

)

select * from final
