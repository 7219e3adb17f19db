{{
    config(
        partition_by=month_of('created_at'),
        order_by=['source_name', 'repository_id', 'pull_request_number'],
        unique_key=['source_name', 'repository_id', 'pull_request_number'],
        dirty=["{{ partitions_of_affected() }}"],
        may_differ="{{ is_affected() }}",
    )
}}

with source as (

    {{ bronze('github', 'pull_requests') }}

),

renamed as (

    select
        source_name,
        repository_id,
        number as pull_request_number,
        updated_at,
        repository,
        node_id,
        database_id,
        created_at,
        closed_at,
        merged_at,
        title,
        body,
        state,
        is_draft,
        url,
        author_login,
        author_type,
        merged_by_login,
        merged_by_type,
        head_ref,
        base_ref,
        head_sha,
        head_repository,
        is_cross_repository,
        merge_commit_sha,
        additions,
        deletions,
        changed_files,
        commits_count,
        comments_count,
        first_commit_at,
        ready_for_review_at,
        review_decision,
        checks_state,
        milestone,
        JSONExtract(labels, 'Array(String)') as labels,
        JSONExtract(assignees, 'Array(String)') as assignees,
        requested_reviewers,
        linked_issues,
        reviews,
        comments,
        events,
        commits,
        issue_keys
    from source

),

final as (

    {{ with_unaffected('renamed') }}

)

select * from final
