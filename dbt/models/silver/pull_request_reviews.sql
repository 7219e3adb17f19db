{{
    config(
        partition_by='toYYYYMM(pull_request_created_at)',
        order_by='(ticket_bucket, repository_id, pull_request_number, review_index)',
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

reviews as (

    select
        source_name,
        repository_id,
        pull_request_number,
        review_index,
        review
    from staged
    array join
        JSONExtract(
            reviews,
            'Array(Tuple(id Nullable(Int64), author Nullable(String), authorType Nullable(String), state String, '
            || 'submittedAt Nullable(String), comments Int64, commit Nullable(String), body Nullable(String)))'
        ) as review,
        arrayEnumerate(JSONExtractArrayRaw(reviews)) as review_index

),

final as (

    select
        pull_requests.source_name as source_name,
        pull_requests.repository_id as repository_id,
        pull_requests.repository as repository,
        pull_requests.pull_request_number as pull_request_number,
        pull_requests.created_at as pull_request_created_at,
        reviews.review_index as review_index,
        tupleElement(reviews.review, 'id') as review_id,
        pull_requests.ticket_key as ticket_key,
        pull_requests.ticket_bucket as ticket_bucket,
        tupleElement(reviews.review, 'author') as reviewer_login,
        tupleElement(reviews.review, 'authorType') as reviewer_type,
        {{ actor_kind('github', 'reviewer_login', "''", 'reviewer_type') }} as reviewer_kind,
        tupleElement(reviews.review, 'state') as state,
        toBool(
            coalesce(
                {{ plain_account('github', 'reviewer_login') }} != ''
                and {{ plain_account('github', 'reviewer_login') }}
                = {{ plain_account('github', 'pull_requests.author_login') }},
                false
            )
        ) as is_by_author,
        parseDateTime64BestEffortOrNull(tupleElement(reviews.review, 'submittedAt'), 6, 'UTC') as submitted_at,
        tupleElement(reviews.review, 'comments') as comments,
        tupleElement(reviews.review, 'commit') as commit,
        nullIf(trimBoth(coalesce(tupleElement(reviews.review, 'body'), '')), '') as body
    from reviews
    inner join pull_requests
        on
            reviews.source_name = pull_requests.source_name
            and reviews.repository_id = pull_requests.repository_id
            and reviews.pull_request_number = pull_requests.pull_request_number

)

select * from final
