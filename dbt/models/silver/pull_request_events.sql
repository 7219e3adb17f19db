{{
    config(
        partition_by='toYYYYMM(pull_request_created_at)',
        order_by='(ticket_bucket, repository_id, pull_request_number, event_index)',
        dirty=[
            "select toYYYYMM(created_at) from " ~ changes('pull_requests'),
            "select toYYYYMM(created_at) from " ~ changes('stg_github__pull_requests'),
        ],
    )
}}

with staged as (

    select * from {{ ref('stg_github__pull_requests') }}
    where {{ in_dirty('toYYYYMM(created_at)') }}

),

pull_requests as (

    select * from {{ ref('pull_requests') }}
    where {{ in_dirty('toYYYYMM(created_at)') }}

),

events as (

    select
        source_name,
        repository_id,
        pull_request_number,
        toUInt64(event_index) as event_index,
        event
    from staged
    array join
        JSONExtract(
            events,
            'Array(Tuple(type String, at Nullable(String), actor Nullable(String), subject Nullable(String)))'
        ) as event,
        arrayEnumerate(JSONExtractArrayRaw(events)) as event_index

),

final as (

    select
        pull_requests.source_name as source_name,
        pull_requests.repository_id as repository_id,
        pull_requests.repository as repository,
        pull_requests.pull_request_number as pull_request_number,
        pull_requests.created_at as pull_request_created_at,
        events.event_index as event_index,
        pull_requests.ticket_key as ticket_key,
        pull_requests.ticket_bucket as ticket_bucket,
        tupleElement(events.event, 'type') as event_type,
        parseDateTime64BestEffortOrNull(tupleElement(events.event, 'at'), 6, 'UTC') as happened_at,
        tupleElement(events.event, 'actor') as actor_login,
        {{ actor_kind(
            'github', 'actor_login', "''", "if(actor_login = pull_requests.author_login, pull_requests.author_type, '')"
        ) }} as actor_kind,
        tupleElement(events.event, 'subject') as subject
    from events
    inner join pull_requests
        on
            events.source_name = pull_requests.source_name
            and events.repository_id = pull_requests.repository_id
            and events.pull_request_number = pull_requests.pull_request_number

)

select * from final
