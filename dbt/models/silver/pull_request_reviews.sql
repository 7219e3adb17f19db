{{
    config(
        partition_by='toYYYYMM(pull_request_created_at)',
        order_by='(ticket_bucket, repository_id, pull_request_number, review_index)',
        indexes=[by_bucket(), by_number()],
        dirty=changed_lists(),
    )
}}

with reviews as (

    {{ elements_of_pull_requests('reviews', [
        'id Nullable(Int64)',
        'author Nullable(String)',
        'authorType Nullable(String)',
        'state String',
        'submittedAt Nullable(String)',
        'comments Int64',
        'commit Nullable(String)',
        'body Nullable(String)',
    ]) }}

),

final as (

    select
        source_name,
        repository_id,
        repository,
        pull_request_number,
        pull_request_created_at,
        position as review_index,
        tupleElement(element, 'id') as review_id,
        ticket_key,
        ticket_bucket,
        tupleElement(element, 'author') as reviewer_login,
        tupleElement(element, 'authorType') as reviewer_type,
        {{ actor_kind('github', 'reviewer_login', "''", 'reviewer_type') }} as reviewer_kind,
        tupleElement(element, 'state') as state,
        toBool(
            coalesce(
                {{ plain_account('github', 'reviewer_login') }} != ''
                and {{ plain_account('github', 'reviewer_login') }}
                = {{ plain_account('github', 'pull_request_author_login') }},
                false
            )
        ) as is_by_author,
        parseDateTime64BestEffortOrNull(tupleElement(element, 'submittedAt'), 6, 'UTC') as submitted_at,
        tupleElement(element, 'comments') as comments,
        tupleElement(element, 'commit') as commit,
        nullIf(trimBoth(coalesce(tupleElement(element, 'body'), '')), '') as body
    from reviews

)

select * from final
