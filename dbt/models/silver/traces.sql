{{
    config(
        partition_by='toYYYYMM(started_at)',
        order_by='(project_id, trace_id)',
        dirty=[
            "{{ partitions_across_sources('stg_langfuse__traces', 'langfuse', 'project_id, trace_id', 'toYYYYMM(started_at)') }}",
            "select toYYYYMM(started_at) from {{ this }} where {{ names_moved_ticket('[key_found]') }}",
            "select toYYYYMM(started_at) from {{ this }}
            where
                link_method in ('trace_name', 'none')
                and {{ names_changed_project(ticket_keys_in(\"coalesce(trace_name, '')\", \"cast([], 'Array(String)')\")) }}",
        ]
    )
}}

with traces as (

    {{ rows_across_sources('stg_langfuse__traces', 'langfuse', 'project_id, trace_id', 'toYYYYMM(started_at)') }}

),

known_projects as (

    {{ known_projects() }}

),

moved_tickets as (

    {{ moved_tickets() }}

),

said as (

    -- What a load lifted out of metadata, under the stack's own keys, else out of a tag: it came from the tag when that
    -- says it and metadata does not.
    select
        *,
        trimBoth(coalesce(ticket, '')) as ticket_lifted,
        trimBoth(coalesce(stage, '')) as stage_lifted,
        trimBoth(JSONExtractString(metadata, 'ticket')) as ticket_in_metadata,
        trimBoth(JSONExtractString(metadata, 'stage')) as stage_in_own_metadata,
        arrayMap(
            tag -> trimBoth(substring(tag, length('ticket:') + 1)),
            arrayFilter(tag -> startsWith(tag, 'ticket:'), tags)
        ) as tickets_in_tags,
        arrayMap(
            tag -> trimBoth(substring(tag, length('stage:') + 1)),
            arrayFilter(tag -> startsWith(tag, 'stage:'), tags)
        ) as stages_in_tags,
        has(tickets_in_tags, ticket_lifted)
        and position(metadata, concat('"', ticket_lifted, '"')) = 0 as is_ticket_of_tag,
        has(stages_in_tags, stage_lifted)
        and position(metadata, concat('"', stage_lifted, '"')) = 0 as is_stage_of_tag
    from traces

),

evidence as (

    -- The trace contract of docs/architecture.md. Metadata, session and tag hold a key and nothing else, so the whole
    -- text must be one; a trace name is free text.
    select
        said.*,
        if(
            ticket_lifted = '' or is_ticket_of_tag,
            {{ whole_ticket_key('ticket_in_metadata') }},
            {{ whole_ticket_key('ticket_lifted') }}
        ) as key_in_metadata,
        {{ whole_ticket_key("coalesce(session_id, '')") }} as key_in_session,
        arrayFirst(key -> key != '', arrayMap(tag -> {{ whole_ticket_key('tag') }}, tickets_in_tags)) as key_in_tag,
        {{ ticket_keys_in("coalesce(trace_name, '')", 'project_keys') }}[1] as key_in_name,
        if(stage_lifted = '' or is_stage_of_tag, stage_in_own_metadata, stage_lifted) as stage_in_metadata,
        stages_in_tags[1] as stage_in_tag,
        -- `forge.<stage>`, or the one word beside a ticket key
        if(
            key_in_name != '' or startsWith(coalesce(trace_name, ''), 'forge.'),
            extract(
                replaceRegexpOne(coalesce(trace_name, ''), '{{ ticket_key_pattern() }}', ''),
                '^[ :/-]*(?:forge[.])?([A-Za-z][A-Za-z0-9_]*)[ :/-]*$'
            ),
            ''
        ) as stage_in_name
    from said
    cross join known_projects

),

linked as (

    select
        *,
        multiIf(
            key_in_metadata != '', key_in_metadata,
            key_in_session != '', key_in_session,
            key_in_tag != '', key_in_tag,
            key_in_name
        ) as key_named,
        multiIf(
            key_in_metadata != '', 'metadata',
            key_in_session != '', 'session',
            key_in_tag != '', 'tag',
            key_in_name != '', 'trace_name',
            'none'
        ) as named_by
    from evidence

),

final as (

    -- What was done under a key of before a move belongs to the ticket as it is called now.
    select
        linked.source_name as source_name,
        linked.project_id as project_id,
        linked.trace_id as trace_id,
        linked.trace_name as trace_name,
        linked.session_id as session_id,
        linked.user_id as user_id,
        coalesce(linked.user_id, '') as agent,
        {{ actor_kind('langfuse', 'linked.user_id') }} as agent_kind,
        linked.environment as environment,
        linked.release as release,
        linked.version as version,
        linked.key_named as key_found,
        coalesce(moved_tickets.current_key, linked.key_named) as ticket_key,
        {{ ticket_bucket('ticket_key') }} as ticket_bucket,
        linked.named_by as link_method,
        {{ trace_link_confidence('linked.named_by') }} as link_confidence,
        multiIf(
            linked.stage_in_metadata != '', linked.stage_in_metadata,
            linked.stage_in_tag != '', linked.stage_in_tag,
            linked.stage_in_name
        ) as stage,
        multiIf(
            linked.stage_in_metadata != '', 'metadata',
            linked.stage_in_tag != '', 'tag',
            linked.stage_in_name != '', 'trace_name',
            'none'
        ) as stage_method,
        coalesce(linked.repository, nullIf(JSONExtractString(linked.metadata, 'repo'), '')) as repository,
        coalesce(linked.event, nullIf(JSONExtractString(linked.metadata, 'event'), '')) as event,
        coalesce(linked.attempt, JSONExtract(linked.metadata, 'attempt', 'Nullable(Int64)')) as attempt,
        linked.tags as tags,
        linked.cost_usd as langfuse_cost_usd,
        linked.latency_seconds as latency_seconds,
        linked.started_at as started_at,
        linked.updated_at as updated_at
    from linked
    left join moved_tickets on linked.key_named = moved_tickets.former_key

)

select * from final
