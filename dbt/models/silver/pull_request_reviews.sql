{{ config(order_by='(repository, pull_request_number, review_index)') }}

with staged as (

    select * from {{ ref('stg_github__pull_requests') }}

),

pull_requests as (

    select * from {{ ref('pull_requests') }}

),

reviews as (

    select
        source_name,
        repository,
        pull_request_number,
        review_index,
        review
    from staged
    array join
        JSONExtract(
            reviews,
            'Array(Tuple(author Nullable(String), authorType Nullable(String), state String, '
            || 'submittedAt Nullable(String)))'
        ) as review,
        arrayEnumerate(JSONExtractArrayRaw(reviews)) as review_index

),

final as (

    select
        pull_requests.source_name as source_name,
        pull_requests.repository as repository,
        pull_requests.pull_request_number as pull_request_number,
        reviews.review_index as review_index,
        pull_requests.ticket_key as ticket_key,
        tupleElement(reviews.review, 'author') as reviewer_login,
        tupleElement(reviews.review, 'authorType') as reviewer_type,
        tupleElement(reviews.review, 'state') as state,
        toBool(
            coalesce(tupleElement(reviews.review, 'author') = pull_requests.author_login, false)
        ) as is_by_author,
        parseDateTime64BestEffortOrNull(tupleElement(reviews.review, 'submittedAt'), 6, 'UTC') as submitted_at
    from reviews
    inner join pull_requests
        on
            reviews.source_name = pull_requests.source_name
            and reviews.repository = pull_requests.repository
            and reviews.pull_request_number = pull_requests.pull_request_number

)

select * from final
