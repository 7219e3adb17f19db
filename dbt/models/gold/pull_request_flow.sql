{{ config(
    partition_by='toYYYYMM(created_at)',
    order_by='(repository_id, pull_request_number)',
    indexes=[by_number()],
    dirty=[
        "select toYYYYMM(created_at) from " ~ changes('pull_requests'),
        "select toYYYYMM(pull_request_created_at) from " ~ changes('pull_request_reviews'),
        "select toYYYYMM(pull_request_created_at) from " ~ changes('pull_request_commits'),
        "select toYYYYMM(created_at) from {{ ref('pull_requests') }} where (repository_id, pull_request_number) in (
             select repository_id, assumeNotNull(pull_request_number) from {{ changes('ci_runs') }}
             where pull_request_number is not null
             union distinct
             select repository_id, pull_request_number from {{ changes('deployment_changes') }}
             union distinct
             select repository_id, assumeNotNull(reverts_number) from {{ changes('pull_requests') }}
             where reverts_number is not null
         )",
        "select toYYYYMM(created_at) from {{ ref('pull_requests') }} where ticket_key != '' and ticket_key in (
             select ticket_key from {{ changes('jira_issues') }}
             union distinct
             select ticket_key from {{ changes('ticket_stages') }} where is_reentry and entered_by_kind = 'human'
         )",
    ]
) }}

with pull_requests as (

    select * from {{ ref('pull_requests') }}
    where {{ in_dirty('toYYYYMM(created_at)') }}

),

reviews as (

    select * from {{ ref('pull_request_reviews') }}
    where
        {{ in_dirty('toYYYYMM(pull_request_created_at)') }}
        and not is_by_author
        and state != 'PENDING'

),

commits as (

    select * from {{ ref('pull_request_commits') }}
    where {{ in_dirty('toYYYYMM(pull_request_created_at)') }}

),

ci_runs as (

    select
        repository_id,
        coalesce(pull_request_number, 0) as pull_request_number,
        run_id,
        run_attempt,
        is_last_attempt,
        workflow_name,
        head_sha,
        conclusion,
        run_created_at
    from {{ ref('ci_runs') }}
    where
        pull_request_number != 0
        and ticket_bucket in (select ticket_bucket from pull_requests)
        and (repository_id, pull_request_number) in (
            select
                repository_id,
                pull_request_number
            from pull_requests
        )

),

issues as (

    select
        ticket_key,
        project_key,
        issue_type
    from {{ ref('jira_issues') }}
    where
        ticket_bucket in (select ticket_bucket from pull_requests)
        and ticket_key in (
            select ticket_key from pull_requests
            where ticket_key != ''
        )

),

deployment_changes as (

    select
        repository_id,
        pull_request_number,
        deployed_at,
        is_baseline
    from {{ ref('deployment_changes') }}
    where (repository_id, pull_request_number) in (select
        repository_id,
        pull_request_number
    from pull_requests)

),

reverted as (

    select
        repository_id,
        assumeNotNull(reverts_number) as pull_request_number,
        min(merged_at) as reverted_at
    from {{ ref('pull_requests') }}
    where is_merged and reverts_number is not null
    group by
        repository_id,
        pull_request_number

),

reviews_by_pull_request as (

    select
        repository_id,
        pull_request_number,
        count() as reviews,
        countIf(reviewer_kind = 'human') as human_reviews,
        countIf(state = 'CHANGES_REQUESTED') as changes_requested,
        minOrNullIf(submitted_at, reviewer_kind != 'bot') as first_reviewed_at,
        minOrNullIf(submitted_at, reviewer_kind = 'human') as first_human_reviewed_at,
        minOrNullIf(submitted_at, reviewer_kind = 'human' and state = 'APPROVED') as approved_at,
        minOrNullIf(submitted_at, reviewer_kind = 'human' and state = 'CHANGES_REQUESTED') as first_human_rejected_at,
        groupArrayIf(submitted_at, state = 'CHANGES_REQUESTED') as rejected_at
    from reviews
    group by
        repository_id,
        pull_request_number

),

commits_by_pull_request as (

    select
        repository_id,
        pull_request_number,
        countIf(author_kind = 'human') as human_commits,
        countIf(author_kind = 'agent') as agent_commits,
        arraySort(groupArray(committed_at)) as commit_times
    from commits
    group by
        repository_id,
        pull_request_number

),

ci_by_pull_request as (

    select
        repository_id,
        pull_request_number,
        uniqExact(run_id) as ci_runs,
        argMin(head_sha, (run_created_at, run_id)) as first_head_sha
    from ci_runs
    group by
        repository_id,
        pull_request_number

),

first_ci as (

    select
        repository_id,
        pull_request_number,
        countIf({{ is_failed_run('conclusion') }}) as failed,
        countIf(conclusion = 'success') as passed
    from ci_runs
    where
        run_attempt = 1
        and (repository_id, pull_request_number, head_sha)
        in (select
            repository_id,
            pull_request_number,
            first_head_sha
        from ci_by_pull_request)
    group by
        repository_id,
        pull_request_number

),

heads_by_workflow as (

    -- What a workflow said of each head: how many of its runs failed, and when.
    select
        repository_id,
        pull_request_number,
        workflow_name,
        head_sha,
        max(run_created_at) as last_run_at,
        groupArrayIf(run_created_at, {{ is_failed_run('conclusion') }}) as failed_at
    from ci_runs
    where is_last_attempt
    group by
        repository_id,
        pull_request_number,
        workflow_name,
        head_sha

),

workflows as (

    select
        repository_id,
        pull_request_number,
        groupArray((head_sha, last_run_at, failed_at)) as heads
    from heads_by_workflow
    group by
        repository_id,
        pull_request_number,
        workflow_name

),

fixes as (

    -- A failed run was fixed, or tried to be, when the same workflow ran later on another head.
    select
        repository_id,
        pull_request_number,
        sum(
            arraySum(
                failed -> arrayCount(
                    failed_run_at -> arrayExists(
                        later -> later.1 != failed.1 and later.2 > failed_run_at, heads
                    ),
                    failed.3
                ),
                heads
            )
        ) as fix_attempts
    from workflows
    group by
        repository_id,
        pull_request_number

),

interventions as (

    -- When people moved a ticket back to where it had been.
    select
        ticket_key,
        groupArray(entered_at) as moved_back_at
    from {{ ref('ticket_stages') }}
    where
        is_reentry
        and entered_by_kind = 'human'
        and ticket_bucket in (select ticket_bucket from pull_requests)
        and ticket_key in (
            select ticket_key from pull_requests
            where author_kind = 'agent' and ticket_key != ''
        )
    group by ticket_key

),

joined as (

    select
        pull_requests.repository_id as repository_id,
        pull_requests.pull_request_number as pull_request_number,
        pull_requests.ticket_key as ticket_key,
        pull_requests.* except (repository_id, pull_request_number, ticket_key),
        issues.project_key as project_key,
        issues.issue_type as issue_type,
        reviews_by_pull_request.first_reviewed_at as first_reviewed_at,
        reviews_by_pull_request.first_human_reviewed_at as first_human_reviewed_at,
        reviews_by_pull_request.approved_at as approved_at,
        reviews_by_pull_request.first_human_rejected_at as first_human_rejected_at,
        deployment_changes.deployed_at as deployed_at,
        coalesce(deployment_changes.is_baseline, false) as is_baseline,
        reverted.reverted_at as reverted_at,
        coalesce(reviews_by_pull_request.reviews, 0) as reviews,
        coalesce(reviews_by_pull_request.human_reviews, 0) as human_reviews,
        coalesce(reviews_by_pull_request.changes_requested, 0) as changes_requested,
        coalesce(commits_by_pull_request.human_commits, 0) as human_commits,
        coalesce(commits_by_pull_request.agent_commits, 0) as agent_commits,
        coalesce(ci_by_pull_request.ci_runs, 0) as ci_runs,
        coalesce(fixes.fix_attempts, 0) as fix_attempts,
        multiIf(first_ci.failed > 0, 'failure', first_ci.passed > 0, 'success', null) as first_ci_conclusion,
        reviews_by_pull_request.rejected_at as rejected_at,
        commits_by_pull_request.commit_times as commit_times,
        interventions.moved_back_at as moved_back_at
    from pull_requests
    left join issues on pull_requests.ticket_key = issues.ticket_key
    left join reviews_by_pull_request
        on
            pull_requests.repository_id = reviews_by_pull_request.repository_id
            and pull_requests.pull_request_number = reviews_by_pull_request.pull_request_number
    left join commits_by_pull_request
        on
            pull_requests.repository_id = commits_by_pull_request.repository_id
            and pull_requests.pull_request_number = commits_by_pull_request.pull_request_number
    left join ci_by_pull_request
        on
            pull_requests.repository_id = ci_by_pull_request.repository_id
            and pull_requests.pull_request_number = ci_by_pull_request.pull_request_number
    left join first_ci
        on
            pull_requests.repository_id = first_ci.repository_id
            and pull_requests.pull_request_number = first_ci.pull_request_number
    left join fixes
        on
            pull_requests.repository_id = fixes.repository_id
            and pull_requests.pull_request_number = fixes.pull_request_number
    left join deployment_changes
        on
            pull_requests.repository_id = deployment_changes.repository_id
            and pull_requests.pull_request_number = deployment_changes.pull_request_number
    left join reverted
        on
            pull_requests.repository_id = reverted.repository_id
            and pull_requests.pull_request_number = reverted.pull_request_number
    left join interventions on pull_requests.ticket_key = interventions.ticket_key

),

final as (

    select
        repository_id,
        repository,
        nullIf(team, '') as team,
        pull_request_number,
        url,
        title,
        ticket_key,
        project_key,
        issue_type,
        author_login,
        author_kind,
        state,
        link_method,
        created_at,
        first_commit_at,
        ready_at,
        first_reviewed_at,
        first_human_reviewed_at,
        approved_at,
        merged_at,
        closed_at,
        deployed_at,
        {{ seconds_between('first_commit_at', 'ready_at') }} as coding_seconds,
        {{ seconds_between('ready_at', 'first_reviewed_at') }} as pickup_seconds,
        {{ seconds_between('first_reviewed_at', 'approved_at') }} as review_seconds,
        {{ seconds_between('approved_at', 'merged_at') }} as merge_seconds,
        if(is_baseline, null, {{ seconds_between('merged_at', 'deployed_at') }}) as deploy_seconds,
        {{ seconds_between('first_commit_at', 'merged_at') }} as cycle_seconds,
        additions,
        deletions,
        changed_files,
        commits_count,
        reviews,
        human_reviews,
        changes_requested,
        -- Requests for changes that the same commit answered are one round.
        length(
            arrayDistinct(
                arrayFilter(
                    answered_at -> answered_at is not null,
                    arrayMap(
                        request_at -> arrayFirstOrNull(commit_at -> commit_at > request_at, commit_times),
                        rejected_at
                    )
                )
            )
        ) as revision_cycles,
        if(
            first_human_reviewed_at is null,
            null,
            toBool(
                approved_at is not null
                and coalesce(first_human_rejected_at > approved_at, true)
                and not arrayExists(
                    commit_at -> commit_at > first_human_reviewed_at
                    and (merged_at is null or commit_at <= merged_at),
                    commit_times
                )
            )
        ) as is_first_pass,
        human_commits,
        agent_commits,
        if(
            author_kind = 'agent',
            toBool(
                human_commits > 0
                or arrayExists(
                    moved_at -> moved_at >= created_at
                    and (closed_at is null or moved_at <= coalesce(merged_at, closed_at)),
                    moved_back_at
                )
            ),
            null
        ) as is_human_intervened,
        ci_runs,
        first_ci_conclusion,
        fix_attempts,
        toBool(reverted_at is not null) as is_reverted,
        reverted_at,
        is_merged
    from joined

)

select * from final
