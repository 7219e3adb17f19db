{{
    config(
        partition_by='toYYYYMM(pull_request_created_at)',
        order_by='(ticket_bucket, repository_id, pull_request_number, commit_index)',
        indexes=[by_bucket(), by_number()],
        dirty=changed_lists(),
    )
}}

with commits as (

    {{ elements_of_pull_requests('commits', [
        'oid String',
        'authoredAt Nullable(String)',
        'committedAt Nullable(String)',
        'author Nullable(String)',
        'authorType Nullable(String)',
        'authorEmail Nullable(String)',
        'message String',
        'coAuthors Array(Tuple(name String, email String))',
    ]) }}

),

final as (

    select
        source_name,
        repository_id,
        repository,
        pull_request_number,
        pull_request_created_at,
        toUInt64(position) as commit_index,
        ticket_key,
        ticket_bucket,
        tupleElement(element, 'oid') as oid,
        parseDateTime64BestEffortOrNull(tupleElement(element, 'authoredAt'), 6, 'UTC') as authored_at,
        parseDateTime64BestEffortOrNull(tupleElement(element, 'committedAt'), 6, 'UTC') as committed_at,
        tupleElement(element, 'author') as author_login,
        tupleElement(element, 'authorType') as author_type,
        {{ actor_kind('github', 'author_login', "''", 'author_type') }} as author_kind,
        tupleElement(element, 'authorEmail') as author_email,
        splitByChar('\n', tupleElement(element, 'message'))[1] as subject,
        toBool(notEmpty(tupleElement(element, 'coAuthors'))) as is_coauthored,
        arrayMap(
            author -> (tupleElement(author, 'name'), tupleElement(author, 'email')),
            tupleElement(element, 'coAuthors')
        ) as co_authors
    from commits

)

select * from final
