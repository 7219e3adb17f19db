{{ config(order_by='(repository, pull_request_number, source_name)') }}

with pull_requests as (

    -- One row a pull request: two sources may see it, and a repository brings it again under a new name.
    select * from {{ ref('stg_github__pull_requests') }}
    {{ newest_row('domain(url), node_id', 'url') }}

),

known_projects as (

    {{ known_projects() }}

),

moved_tickets as (

    {{ moved_tickets() }}

),

evidence as (

    select
        pull_requests.*,
        {{ ticket_keys_in('head_ref', 'project_keys') }}[1] as key_in_branch,
        {{ ticket_keys_in('title', 'project_keys') }}[1] as key_in_title,
        {{ ticket_keys_in("coalesce(body, '')", 'project_keys') }}[1] as key_in_body
    from pull_requests
    cross join known_projects

),

linked as (

    select
        *,
        multiIf(
            key_in_branch != '', key_in_branch,
            key_in_title != '', key_in_title,
            key_in_body
        ) as key_found
    from evidence

),

final as (

    -- What was done under a key of before a move belongs to the ticket as it is called now.
    select
        source_name,
        repository,
        pull_request_number,
        url,
        title,
        state,
        review_decision,
        author_login,
        author_type,
        merged_by_login,
        head_ref,
        base_ref,
        head_sha,
        merge_commit_sha,
        coalesce(moved_tickets.current_key, linked.key_found) as ticket_key,
        multiIf(
            key_in_branch != '', 'branch',
            key_in_title != '', 'title',
            key_in_body != '', 'body',
            'none'
        ) as link_method,
        labels,
        additions,
        deletions,
        changed_files,
        commits_count,
        is_draft,
        toBool(merged_at is not null) as is_merged,
        created_at,
        first_commit_at,
        ready_for_review_at,
        updated_at,
        merged_at,
        closed_at
    from linked
    left join moved_tickets on linked.key_found = moved_tickets.former_key

)

select * from final
