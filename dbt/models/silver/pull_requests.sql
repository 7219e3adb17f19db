{{ config(order_by='(repository, pull_request_number, source_name)') }}

with pull_requests as (

    select * from {{ ref('stg_github__pull_requests') }}
    {{ one_row_across_sources('github', 'url') }}

),

known_projects as (

    {{ known_projects() }}

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

final as (

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
        multiIf(
            key_in_branch != '', key_in_branch,
            key_in_title != '', key_in_title,
            key_in_body
        ) as ticket_key,
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
    from evidence

)

select * from final
