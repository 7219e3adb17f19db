{{ config(order_by='(project_id, trace_id)') }}

with traces as (

    select * from {{ ref('stg_langfuse__traces') }}
    {{ one_row_across_sources('langfuse', 'project_id, trace_id') }}

),

known_projects as (

    {{ known_projects() }}

),

moved_tickets as (

    {{ moved_tickets() }}

),

evidence as (

    -- The trace contract of docs/architecture.md. Metadata, session and tag hold a key and nothing else, so the whole
    -- text must be one; a trace name is free text.
    select
        traces.*,
        {{ whole_ticket_key("JSONExtractString(metadata, 'ticket')") }} as key_in_metadata,
        {{ whole_ticket_key("coalesce(session_id, '')") }} as key_in_session,
        arrayFirst(
            key -> key != '',
            arrayMap(
                tag -> {{ whole_ticket_key("substring(tag, length('ticket:') + 1)") }},
                arrayFilter(tag -> startsWith(tag, 'ticket:'), tags)
            )
        ) as key_in_tag,
        {{ ticket_keys_in("coalesce(trace_name, '')", 'project_keys') }}[1] as key_in_name,
        trimBoth(JSONExtractString(metadata, 'stage')) as stage_in_metadata,
        trimBoth(substring(arrayFirst(tag -> startsWith(tag, 'stage:'), tags), length('stage:') + 1)) as stage_in_tag,
        -- `forge.<stage>`, or the one word beside a ticket key
        if(
            key_in_name != '' or startsWith(coalesce(trace_name, ''), 'forge.'),
            extract(
                replaceRegexpOne(coalesce(trace_name, ''), '{{ ticket_key_pattern() }}', ''),
                '^[ :/-]*(?:forge[.])?([A-Za-z][A-Za-z0-9_]*)[ :/-]*$'
            ),
            ''
        ) as stage_in_name
    from traces
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
        ) as key_found
    from evidence

),

final as (

    -- What was done under a key of before a move belongs to the ticket as it is called now.
    select
        source_name,
        project_id,
        trace_id,
        trace_name,
        session_id,
        user_id,
        environment,
        release,
        version,
        coalesce(moved_tickets.current_key, linked.key_found) as ticket_key,
        multiIf(
            key_in_metadata != '', 'metadata',
            key_in_session != '', 'session',
            key_in_tag != '', 'tag',
            key_in_name != '', 'trace_name',
            'none'
        ) as link_method,
        multiIf(
            stage_in_metadata != '', stage_in_metadata,
            stage_in_tag != '', stage_in_tag,
            stage_in_name
        ) as stage,
        multiIf(
            stage_in_metadata != '', 'metadata',
            stage_in_tag != '', 'tag',
            stage_in_name != '', 'trace_name',
            'none'
        ) as stage_method,
        nullIf(JSONExtractString(metadata, 'repo'), '') as repository,
        nullIf(JSONExtractString(metadata, 'event'), '') as event,
        JSONExtract(metadata, 'attempt', 'Nullable(Int64)') as attempt,
        tags,
        cost_usd as langfuse_cost_usd,
        latency_seconds,
        started_at,
        updated_at
    from linked
    left join moved_tickets on linked.key_found = moved_tickets.former_key

)

select * from final
