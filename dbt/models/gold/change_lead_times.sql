{{ config(
    partition_by='toYYYYMM(merged_at)',
    order_by='(repository_id, pull_request_number)',
    dirty=[
        "select toYYYYMM(merged_at) from " ~ changes('pull_requests') ~ " where merged_at is not null",
        "select toYYYYMM(merged_at) from " ~ changes('deployment_changes'),
        "select toYYYYMM(merged_at) from {{ ref('pull_requests') }} where merged_at is not null and ticket_key != ''
         and ticket_key in (select ticket_key from {{ changes('jira_issues') }})",
    ]
) }}

with pull_requests as (

    select
        * except (merged_at),
        assumeNotNull(merged_at) as merged_at
    from {{ ref('pull_requests') }}
    where is_merged and {{ in_dirty('toYYYYMM(merged_at)') }}

),

deployment_changes as (

    select * from {{ ref('deployment_changes') }}
    where {{ in_dirty('toYYYYMM(merged_at)') }}

),

issues as (

    select
        ticket_key,
        project_key
    from {{ ref('jira_issues') }}
    where
        ticket_bucket in (select ticket_bucket from pull_requests)
        and ticket_key in (
            select ticket_key from pull_requests
            where ticket_key != ''
        )

),

final as (

    select
        pull_requests.repository_id as repository_id,
        pull_requests.repository as repository,
        nullIf(pull_requests.team, '') as team,
        issues.project_key as project_key,
        pull_requests.ticket_key as ticket_key,
        pull_requests.pull_request_number as pull_request_number,
        pull_requests.url as url,
        pull_requests.first_commit_at as first_commit_at,
        pull_requests.merged_at as merged_at,
        deployment_changes.deployment_key as deployment_key,
        deployment_changes.deployed_at as deployed_at,
        coalesce(deployment_changes.linked_by, 'none') as linked_by,
        coalesce(deployment_changes.is_baseline, false) as is_baseline,
        toBool(excluded_because is null) as is_counted,
        multiIf(
            deployment_changes.deployment_key is null, 'not deployed',
            deployment_changes.is_baseline, 'baseline',
            pull_requests.first_commit_at is null, 'no commit time',
            pull_requests.first_commit_at > deployment_changes.deployed_at, 'first commit after deployment',
            null
        ) as excluded_because,
        {{ seconds_between('pull_requests.first_commit_at', 'deployment_changes.deployed_at') }} as lead_time_seconds
    from pull_requests
    left join deployment_changes
        on
            pull_requests.repository_id = deployment_changes.repository_id
            and pull_requests.pull_request_number = deployment_changes.pull_request_number
    left join issues on pull_requests.ticket_key = issues.ticket_key

)

select * from final
