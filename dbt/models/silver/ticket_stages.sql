{{ config(order_by='(ticket_key, stage_index)') }}

with issues as (

    select * from {{ ref('jira_issues') }}

),

status_changes as (

    select
        source_name,
        issue_id,
        from_string,
        to_string,
        changed_at,
        row_number() over (
            partition by source_name, issue_id
            order by changed_at, toUInt64OrZero(history_id), item_index
        ) as change_index
    from {{ ref('stg_jira__issue_changelogs') }}
    where field = 'status'

),

first_changes as (

    select * from status_changes
    where change_index = 1

),

known_categories as (

    select
        source_name,
        status,
        any(status_category) as status_category
    from issues
    group by
        source_name,
        status

),

entries as (

    -- An issue is created in the status that its first change leaves; without a change it is still there.
    -- An imported issue may have changes older than itself: its history starts with them.
    select
        issues.source_name as source_name,
        issues.issue_id as issue_id,
        toUInt64(1) as stage_index,
        coalesce(first_changes.from_string, issues.status) as status,
        least(issues.created_at, coalesce(first_changes.changed_at, issues.created_at)) as entered_at
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
        changed_at as entered_at
    from status_changes

),

stages as (

    select
        *,
        leadInFrame(toNullable(entered_at)) over (
            partition by source_name, issue_id
            order by stage_index
            rows between unbounded preceding and unbounded following
        ) as left_at
    from entries

),

final as (

    -- Jira's history names statuses without their category. The category of a status is the one it has for an issue
    -- that is in it now; a status that no issue is in counts as new when issues start there, else as in progress.
    select
        stages.source_name as source_name,
        stages.issue_id as issue_id,
        issues.ticket_key as ticket_key,
        stages.stage_index as stage_index,
        stages.status as status,
        coalesce(
            known_categories.status_category, if(stages.stage_index = 1, 'new', 'indeterminate')
        ) as status_category,
        toBool(known_categories.status_category is not null) as is_category_known,
        {{ seconds_between('stages.entered_at', 'stages.left_at') }} as duration_seconds,
        stages.entered_at as entered_at,
        stages.left_at as left_at
    from stages
    inner join issues
        on
            stages.source_name = issues.source_name
            and stages.issue_id = issues.issue_id
    left join known_categories
        on
            stages.source_name = known_categories.source_name
            and stages.status = known_categories.status

)

select * from final
