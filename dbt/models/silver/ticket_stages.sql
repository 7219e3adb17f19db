{{
    config(
        partition_by='issue_month',
        order_by='(ticket_bucket, ticket_key, stage_index)',
        indexes=[by_bucket()],
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
        and {{ key_in(['source_name', 'issue_id'], 'issues') }}

),

statuses as (

    select * from {{ ref('statuses') }}

),

entries as (

    -- Each issue begins with its creation.
    select
        source_name,
        issue_id,
        toUInt8(0) as is_change,
        created_at as changed_at,
        toUInt64(0) as history,
        toInt32(0) as item_index,
        cast(null, 'Nullable(String)') as from_string,
        status as to_string,
        creator_id as entered_by_id,
        creator_name as entered_by_name,
        creator_kind as entered_by_kind
    from issues

    union all

    select
        source_name,
        issue_id,
        toUInt8(1) as is_change,
        changed_at,
        toUInt64OrZero(history_id) as history,
        item_index,
        from_string,
        coalesce(to_string, '') as to_string,
        author_id as entered_by_id,
        author_name as entered_by_name,
        {{ actor_kind('jira', 'author_id', 'author_name', 'author_type') }} as entered_by_kind
    from changelogs

),

in_order as (

    select
        *,
        row_number() over entries_of_issue as stage_index,
        leadInFrame(toNullable(changed_at)) over entries_of_issue as left_at,
        leadInFrame(toNullable(to_string)) over entries_of_issue as next_status,
        leadInFrame(from_string) over entries_of_issue as status_left
    from entries
    window
        entries_of_issue as (
            partition by source_name, issue_id
            order by is_change, changed_at, history, item_index
            rows between unbounded preceding and unbounded following
        )

),

stays as (

    -- An issue is created in the status that its first change leaves; without a change it is still there.
    -- An imported issue may have changes older than itself: its history starts with them.
    select
        *,
        if(is_change = 0, coalesce(status_left, to_string), to_string) as status,
        if(is_change = 0, least(changed_at, coalesce(left_at, changed_at)), changed_at) as entered_at
    from in_order

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
