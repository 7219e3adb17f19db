{{
    config(
        partition_by='toYYYYMM(created_at)',
        order_by='(ticket_bucket, repository_id, pull_request_number)',
        indexes=[by_bucket(), by_number()],
        dirty=[
            "select toYYYYMM(created_at) from " ~ changes('stg_github__pull_requests'),
            "select toYYYYMM(created_at) from {{ this }}
             where
                 repository_id in (select repository_id from " ~ changes('repositories') ~ ")
                 and (repository_id, repository) not in (select repository_id, repository from {{ ref('repositories') }})",
            "select toYYYYMM(created_at) from {{ ref('stg_github__pull_requests') }}
             where {{ names_changed_project(raw_keys_of_pull_request()) }}",
            "select toYYYYMM(created_at) from {{ this }}
             where {{ names_moved_ticket('arrayConcat([key_found], ticket_keys)') }}",
            "select toYYYYMM(created_at) from {{ this }}
             where
                 is_revert
                 and (repository_id, {{ reverted_title('title') }}) in (
                     select repository_id, title from " ~ changes('stg_github__pull_requests') ~ "
                 )",
        ],
    )
}}

with staged as (

    select * from {{ ref('stg_github__pull_requests') }}

),

repositories as (

    select * from {{ ref('repositories') }}

),

known_projects as (

    {{ known_projects() }}

),

moved_tickets as (

    {{ moved_tickets() }}

),

pull_requests as (

    -- One row a pull request: two sources may see it.
    select * from staged
    where {{ in_dirty('toYYYYMM(created_at)') }}
    {{ one_row_across_sources('github', 'repository_id, pull_request_number') }}

),

evidence as (

    select
        pull_requests.* except (repository),
        coalesce(repositories.repository, pull_requests.repository) as repository,
        pull_requests.repository as repository_then,
        {{ ticket_keys_in('head_ref', '(select project_keys from known_projects)') }} as keys_in_branch,
        {{ ticket_keys_in('title', '(select project_keys from known_projects)') }} as keys_in_title,
        {{ ticket_keys_in("coalesce(body, '')", '(select project_keys from known_projects)') }} as keys_in_body,
        {{ ticket_keys_in(
            commit_messages('commits'), '(select project_keys from known_projects)'
        ) }} as keys_in_commits,
        arrayFilter(
            event -> JSONExtractString(event, 'type') in ('ready_for_review', 'convert_to_draft'),
            JSONExtractArrayRaw(events)
        ) as draft_events
    from pull_requests
    left join repositories on pull_requests.repository_id = repositories.repository_id

),

linked as (

    select
        *,
        arrayDistinct(arrayConcat(keys_in_branch, keys_in_title, keys_in_body, keys_in_commits)) as keys_found,
        multiIf(
            notEmpty(keys_in_branch), 'branch',
            notEmpty(keys_in_title), 'title',
            notEmpty(keys_in_body), 'body',
            notEmpty(keys_in_commits), 'commit',
            'none'
        ) as link_method,
        toBool(is_draft or notEmpty(draft_events) or ready_for_review_at is not null) as was_draft,
        arrayExists(event -> JSONExtractString(event, 'type') = 'convert_to_draft', draft_events) as was_made_draft,
        arrayMin(
            arrayMap(
                event -> parseDateTime64BestEffortOrNull(JSONExtractString(event, 'at'), 6, 'UTC'),
                arrayFilter(event -> JSONExtractString(event, 'type') = 'ready_for_review', draft_events)
            )
        ) as first_ready_at
    from evidence

),

reverts as (

    -- A pull request that takes back another one may name it by its title alone.
    select
        repository_id,
        pull_request_number,
        created_at,
        {{ reverted_title('title') }} as reverted_title
    from pull_requests
    where
        {{ is_revert('title') }}
        and reverted_title != ''

),

quoted as (

    -- Often of another month, so of a partition that may not be built now.
    select
        staged.repository_id as repository_id,
        staged.pull_request_number as pull_request_number,
        staged.title as title,
        assumeNotNull(staged.merged_at) as merged_at
    from staged
    where
        staged.title in (select reverted_title from reverts)
        and staged.merged_at is not null

),

taken_back as (

    select
        reverts.repository_id as repository_id,
        reverts.pull_request_number as pull_request_number,
        argMax(quoted.pull_request_number, (quoted.merged_at, quoted.pull_request_number)) as reverted_number
    from reverts
    inner join quoted
        on
            reverts.repository_id = quoted.repository_id
            and reverts.reverted_title = quoted.title
    where
        quoted.merged_at <= reverts.created_at
        and quoted.pull_request_number != reverts.pull_request_number
    group by
        reverts.repository_id,
        reverts.pull_request_number

),

final as (

    -- What was done under a key of before a move belongs to the ticket as it is called now.
    select
        linked.source_name as source_name,
        linked.repository_id as repository_id,
        linked.repository as repository,
        {{ team_of_repository('linked.repository') }} as team,
        linked.pull_request_number as pull_request_number,
        url,
        title,
        state,
        review_decision,
        author_login,
        author_type,
        {{ actor_kind('github', 'author_login', "''", 'author_type') }} as author_kind,
        merged_by_login,
        {{ actor_kind('github', 'merged_by_login', "''", 'merged_by_type') }} as merged_by_kind,
        head_ref,
        base_ref,
        head_sha,
        is_cross_repository,
        merge_commit_sha,
        {{ current_keys('keys_found', 'moved_tickets') }} as ticket_keys,
        ticket_keys[1] as ticket_key,
        {{ ticket_bucket('ticket_key') }} as ticket_bucket,
        keys_found[1] as key_found,
        link_method,
        transform(link_method, ['branch', 'title', 'body', 'commit'], [0.95, 0.9, 0.7, 0.6], 0.0) as link_confidence,
        {{ is_revert('title') }} as is_revert,
        coalesce(
            {{ reverted_number('body', '[linked.repository, linked.repository_then]') }}, taken_back.reverted_number
        ) as reverts_number,
        labels,
        additions,
        deletions,
        changed_files,
        commits_count,
        is_draft,
        was_draft,
        toBool(merged_at is not null) as is_merged,
        created_at,
        first_commit_at,
        multiIf(
            first_ready_at is not null, first_ready_at,
            ready_for_review_at is not null, ready_for_review_at,
            -- What was made a draft had been opened ready.
            not was_draft or was_made_draft, created_at,
            null
        ) as ready_at,
        ready_for_review_at,
        updated_at,
        merged_at,
        closed_at
    from linked
    left join taken_back
        on
            linked.repository_id = taken_back.repository_id
            and linked.pull_request_number = taken_back.pull_request_number

)

select * from final
