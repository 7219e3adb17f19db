{{
    config(
        partition_by='month',
        order_by='(system, account)',
        dirty=[
            "select toYYYYMM(created_at) from " ~ changes('stg_github__pull_requests'),
            "select toYYYYMM(pull_request_created_at) from " ~ changes('pull_request_reviews'),
            "select toYYYYMM(pull_request_created_at) from " ~ changes('pull_request_commits'),
            "select toYYYYMM(pull_request_created_at) from " ~ changes('pull_request_events'),
            "select toYYYYMM(created_at) from " ~ changes('stg_github__workflow_runs'),
            "select toYYYYMM(created_at) from " ~ changes('stg_github__deployments'),
            "select toYYYYMM(created_at) from " ~ changes('stg_jira__issues'),
            "select toYYYYMM(changed_at) from " ~ changes('stg_jira__issue_changelogs'),
            "select toYYYYMM(started_at) from " ~ changes('stg_langfuse__traces'),
            "select toYYYYMM(scored_at) from " ~ changes('stg_langfuse__scores'),
        ],
    )
}}

with pull_requests as (

    select * from {{ ref('stg_github__pull_requests') }}
    where {{ in_dirty('toYYYYMM(created_at)') }}

),

reviews as (

    select * from {{ ref('pull_request_reviews') }}
    where {{ in_dirty('toYYYYMM(pull_request_created_at)') }}

),

commits as (

    select * from {{ ref('pull_request_commits') }}
    where {{ in_dirty('toYYYYMM(pull_request_created_at)') }}

),

events as (

    select * from {{ ref('pull_request_events') }}
    where {{ in_dirty('toYYYYMM(pull_request_created_at)') }}

),

runs as (

    select * from {{ ref('stg_github__workflow_runs') }}
    where {{ in_dirty('toYYYYMM(created_at)') }}

),

deployments as (

    select * from {{ ref('stg_github__deployments') }}
    where {{ in_dirty('toYYYYMM(created_at)') }}

),

issues as (

    select * from {{ ref('stg_jira__issues') }}
    where {{ in_dirty('toYYYYMM(created_at)') }}

),

changelogs as (

    select * from {{ ref('stg_jira__issue_changelogs') }}
    where {{ in_dirty('toYYYYMM(changed_at)') }}

),

traces as (

    select * from {{ ref('stg_langfuse__traces') }}
    where {{ in_dirty('toYYYYMM(started_at)') }}

),

scores as (

    select * from {{ ref('stg_langfuse__scores') }}
    where {{ in_dirty('toYYYYMM(scored_at)') }}

),

people as (

    -- Each fact names people: (account, display name, email, kind of the account).
    select
        toYYYYMM(created_at) as month,
        'github' as system,
        arrayJoin([
            (author_login, null, null, author_type),
            (merged_by_login, null, null, merged_by_type)
        ]) as person
    from pull_requests

    union all

    select
        toYYYYMM(pull_request_created_at) as month,
        'github' as system,
        (reviewer_login, null, null, reviewer_type) as person
    from reviews

    union all

    -- Without a kind the author of a commit is no account, but a name. Co-authors are names too.
    select
        toYYYYMM(pull_request_created_at) as month,
        'github' as system,
        arrayJoin(
            arrayPushBack(
                arrayMap(author -> (cast(null, 'Nullable(String)'), author.1, author.2, null), co_authors),
                (
                    if(author_type is null, null, author_login),
                    if(author_type is null, author_login, null),
                    author_email,
                    author_type
                )
            )
        ) as person
    from commits

    union all

    select
        toYYYYMM(pull_request_created_at) as month,
        'github' as system,
        (actor_login, null, null, null) as person
    from events

    union all

    select
        toYYYYMM(created_at) as month,
        'github' as system,
        (actor_login, null, null, actor_type) as person
    from runs

    union all

    select
        toYYYYMM(created_at) as month,
        'github' as system,
        (creator_login, null, null, creator_type) as person
    from deployments

    union all

    select
        toYYYYMM(created_at) as month,
        'jira' as system,
        arrayJoin(
            arrayConcat(
                [
                    (reporter_id, reporter_name, null, reporter_type),
                    (assignee_id, assignee_name, null, assignee_type),
                    (creator_id, creator_name, null, null)
                ],
                arrayMap(
                    comment -> (
                        JSONExtract(comment, 'authorId', 'Nullable(String)'),
                        JSONExtract(comment, 'author', 'Nullable(String)'),
                        null,
                        JSONExtract(comment, 'authorType', 'Nullable(String)')
                    ),
                    JSONExtractArrayRaw(comments)
                )
            )
        ) as person
    from issues

    union all

    select
        toYYYYMM(changed_at) as month,
        'jira' as system,
        (author_id, author_name, null, author_type) as person
    from changelogs

    union all

    -- A trace also says who approved what it did.
    select
        toYYYYMM(started_at) as month,
        'langfuse' as system,
        arrayJoin(
            arrayMap(
                user -> (user, null, if(user like '%@%', user, null), null),
                [user_id, toNullable(trimBoth(JSONExtractString(metadata, 'approver')))]
            )
        ) as person
    from traces

    union all

    select
        toYYYYMM(scored_at) as month,
        'langfuse' as system,
        (author_user_id, null, if(author_user_id like '%@%', author_user_id, null), null) as person
    from scores

),

typed as (

    select
        month,
        system,
        cast(
            person, 'Tuple(Nullable(String), Nullable(String), Nullable(String), Nullable(String))'
        ) as person
    from people

),

final as (

    select distinct
        month,
        system,
        if(system = 'github', {{ plain_account('github', 'person.1') }}, coalesce(person.1, '')) as account,
        nullIf(person.2, '') as display_name,
        nullIf(person.3, '') as email,
        nullIf(person.4, '') as account_type
    from typed
    where account != '' or (display_name is not null and email is not null)

)

select * from final
