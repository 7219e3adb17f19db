{{
    config(
        partition_by='toYYYYMM(pull_request_created_at)',
        order_by='(ticket_bucket, repository_id, pull_request_number, commit_index)',
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

commits as (

    select
        source_name,
        repository_id,
        pull_request_number,
        toUInt64(commit_index) as commit_index,
        commit
    from staged
    array join
        JSONExtract(
            commits,
            'Array(Tuple(oid String, authoredAt Nullable(String), committedAt Nullable(String), '
            || 'author Nullable(String), authorType Nullable(String), authorEmail Nullable(String), message String, '
            || 'coAuthors Array(Tuple(name String, email String))))'
        ) as commit,
        arrayEnumerate(JSONExtractArrayRaw(commits)) as commit_index

),

final as (

    select
        pull_requests.source_name as source_name,
        pull_requests.repository_id as repository_id,
        pull_requests.repository as repository,
        pull_requests.pull_request_number as pull_request_number,
        pull_requests.created_at as pull_request_created_at,
        commits.commit_index as commit_index,
        pull_requests.ticket_key as ticket_key,
        pull_requests.ticket_bucket as ticket_bucket,
        tupleElement(commits.commit, 'oid') as oid,
        parseDateTime64BestEffortOrNull(tupleElement(commits.commit, 'authoredAt'), 6, 'UTC') as authored_at,
        parseDateTime64BestEffortOrNull(tupleElement(commits.commit, 'committedAt'), 6, 'UTC') as committed_at,
        tupleElement(commits.commit, 'author') as author_login,
        tupleElement(commits.commit, 'authorType') as author_type,
        {{ actor_kind('github', 'author_login', "''", 'author_type') }} as author_kind,
        tupleElement(commits.commit, 'authorEmail') as author_email,
        splitByChar('\n', tupleElement(commits.commit, 'message'))[1] as subject,
        toBool(notEmpty(tupleElement(commits.commit, 'coAuthors'))) as is_coauthored,
        arrayMap(
            author -> (tupleElement(author, 'name'), tupleElement(author, 'email')),
            tupleElement(commits.commit, 'coAuthors')
        ) as co_authors
    from commits
    inner join pull_requests
        on
            commits.source_name = pull_requests.source_name
            and commits.repository_id = pull_requests.repository_id
            and commits.pull_request_number = pull_requests.pull_request_number

)

select * from final
