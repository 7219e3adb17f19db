{{
    config(
        partition_by='toYYYYMM(pull_request_created_at)',
        order_by='(ticket_bucket, repository_id, pull_request_number, event_index)',
        indexes=[by_bucket(), by_number()],
        dirty=changed_lists(),
    )
}}

with events as (

    {{ elements_of_pull_requests('events', [
        'type String',
        'at Nullable(String)',
        'actor Nullable(String)',
        'subject Nullable(String)',
    ]) }}

),

final as (

    select
        source_name,
        repository_id,
        repository,
        pull_request_number,
        pull_request_created_at,
        toUInt64(position) as event_index,
        ticket_key,
        ticket_bucket,
        tupleElement(element, 'type') as event_type,
        parseDateTime64BestEffortOrNull(tupleElement(element, 'at'), 6, 'UTC') as happened_at,
        tupleElement(element, 'actor') as actor_login,
        {{ actor_kind(
            'github', 'actor_login', "''", "if(actor_login = pull_request_author_login, pull_request_author_type, '')"
        ) }} as actor_kind,
        tupleElement(element, 'subject') as subject
    from events

)

select * from final
