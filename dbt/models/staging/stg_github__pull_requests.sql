with source as (

    {{ bronze('github', 'pull_requests') }}

),

renamed as (

    select
        source_name,
        repository,
        number as pull_request_number,
        updated_at,
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
        head_ref,
        base_ref,
        head_sha,
        merge_commit_sha,
        additions,
        deletions,
        changed_files,
        commits_count,
        first_commit_at,
        ready_for_review_at,
        review_decision,
        JSONExtract(labels, 'Array(String)') as labels,
        reviews,
        commits
    from source

)

select * from renamed
