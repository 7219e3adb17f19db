{{
    config(
        partition_by='issue_month',
        order_by='(ticket_bucket, ticket_key, stage_index)',
        dirty=[
            "select toYYYYMM(created_at) from " ~ changes('jira_issues'),
            "select toYYYYMM(created_at) from {{ ref('jira_issues') }}
             where (source_name, issue_id) in (
                 select source_name, issue_id from " ~ changes('stg_jira__issue_changelogs') ~ " where field = 'status'
             )",
            "select issue_month from {{ this }}
             where (source_name, status) in (select source_name, status from " ~ changes('statuses') ~ ")",
        ],
    )
}}

with issues as (

    select * from {{ ref('jira_issues') }}
    where {{ in_dirty('toYYYYMM(created_at)') }}

),

changelogs as (

    select * from {{ ref('stg_jira__issue_changelogs') }}
    where
        field = 'status'
        and (source_name, issue_id) in (
            select
                source_name,
                issue_id
            from issues
        )

),

statuses as (

    select * from {{ ref('statuses') }}

),

status_changes as (

    select
        source_name,
        issue_id,
        from_string,
        to_string,
        author_id,
        author_name,
        author_type,
        changed_at,
        row_number() over (
            partition by source_name, issue_id
            order by changed_at, toUInt64OrZero(history_id), item_index
        ) as change_index
    from changelogs

),

first_changes as (

    select * from status_changes
    where change_index = 1

),

entries as (

    -- An issue is created in the status that its first change leaves; without a change it is still there.
    -- An imported issue may have changes older than itself: its history starts with them.
    select
        issues.source_name as source_name,
        issues.issue_id as issue_id,
        toUInt64(1) as stage_index,
        coalesce(first_changes.from_string, issues.status) as status,
        least(issues.created_at, coalesce(first_changes.changed_at, issues.created_at)) as entered_at,
        issues.creator_id as entered_by_id,
        issues.creator_name as entered_by_name,
        issues.creator_kind as entered_by_kind
    from issues
    left join first_changes
        on
            issues.source_name = first_changes.source_name
            and issues.issue_id = first_changes.issue_id

    union all

    select
        source_name,
        issue_id,
        change_index + 1 as stage_index,
        coalesce(to_string, '') as status,
        changed_at as entered_at,
        author_id as entered_by_id,
        author_name as entered_by_name,
        {{ actor_kind('jira', 'author_id', 'author_name', 'author_type') }} as entered_by_kind
    from status_changes

),

stays as (

    select
        *,
        leadInFrame(toNullable(entered_at)) over stays_of_issue as left_at,
        leadInFrame(toNullable(status)) over stays_of_issue as next_status
    from entries
    window
        stays_of_issue as (
            partition by source_name, issue_id
            order by stage_index
            rows between unbounded preceding and unbounded following
        )

),

counted as (

    select
        *,
        row_number() over (partition by source_name, issue_id, status order by stage_index) as visit
    from stays

),

categorised as (

    -- Jira's history names statuses without their category. The category of a status is the one it has for an issue
    -- that is in it now; a status that no issue is in counts as new when issues start there, else as in progress.
    select
        counted.*,
        coalesce(
            statuses.status_category, if(counted.stage_index = 1, 'new', 'indeterminate')
        ) as status_category,
        toBool(statuses.status_category is not null) as is_category_known
    from counted
    left join statuses
        on
            counted.source_name = statuses.source_name
            and counted.status = statuses.status

),

final as (

    select
        issues.source_name as source_name,
        issues.issue_id as issue_id,
        issues.ticket_key as ticket_key,
        issues.ticket_bucket as ticket_bucket,
        toYYYYMM(issues.created_at) as issue_month,
        issues.created_at as issue_created_at,
        categorised.stage_index as stage_index,
        categorised.status as status,
        categorised.status_category as status_category,
        categorised.is_category_known as is_category_known,
        {{ status_kind('categorised.status', 'categorised.status_category') }} as status_kind,
        toBool(categorised.visit > 1) as is_reentry,
        categorised.next_status as next_status,
        categorised.entered_by_id as entered_by_id,
        categorised.entered_by_name as entered_by_name,
        categorised.entered_by_kind as entered_by_kind,
        {{ seconds_between('categorised.entered_at', 'categorised.left_at') }} as duration_seconds,
        categorised.entered_at as entered_at,
        categorised.left_at as left_at
    from categorised
    inner join issues
        on
            categorised.source_name = issues.source_name
            and categorised.issue_id = issues.issue_id

)

select * from final
