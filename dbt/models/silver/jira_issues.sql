{{
    config(
        partition_by='toYYYYMM(created_at)',
        order_by='(ticket_bucket, ticket_key)',
        indexes=[by_bucket()],
        dirty=[
            "select toYYYYMM(created_at) from " ~ changes('stg_jira__issues'),
            "select toYYYYMM(created_at) from {{ ref('stg_jira__issues') }}
             where ticket_key in (select ticket_key from " ~ changes('stg_jira__issues') ~ ")",
            "select toYYYYMM(created_at) from {{ ref('stg_jira__issues') }}
             where {{ key_in(['source_name', 'issue_id'], changes('stg_jira__issue_changelogs') ~ \" where lower(field) = 'key'\") }}",
            "select toYYYYMM(created_at) from {{ ref('stg_jira__issues') }}
             where (source_name, issue_id) in (
                 select source_name, issue_id from {{ ref('stg_jira__issue_changelogs') }}
                 where
                     lower(field) = 'key'
                     and upper(from_string) in (select ticket_key from " ~ changes('stg_jira__issues') ~ ")
             )",
        ],
    )
}}

with staged as (

    select * from {{ ref('stg_jira__issues') }}

),

changelogs as (

    select * from {{ ref('stg_jira__issue_changelogs') }}

),

affected as (

    select ticket_key from staged
    where {{ in_dirty('toYYYYMM(created_at)') }}

),

newest as (

    -- One issue a key: two sources may see it, and a project that was made anew under its old key brings it again.
    select
        source_name,
        issue_id
    from staged
    where ticket_key in (select ticket_key from affected)
    {{ newest_row('ticket_key', 'issue_id') }}

),

issues as (

    select * from staged
    where
        {{ in_dirty('toYYYYMM(created_at)') }}
        and (source_name, issue_id) in (select * from newest)

),

moves as (

    -- Jira tells of a move to another project as a change of the field Key. A key that a ticket has now is nobody's
    -- former one.
    select
        source_name,
        issue_id,
        arraySort(groupUniqArray(upper(from_string))) as former_keys
    from changelogs
    where
        lower(field) = 'key'
        and from_string != ''
        and (source_name, issue_id) in (
            select
                source_name,
                issue_id
            from issues
        )
        and upper(from_string) not in (select ticket_key from staged)
    group by
        source_name,
        issue_id

),

final as (

    select
        issues.source_name as source_name,
        issues.issue_id as issue_id,
        ticket_key,
        {{ ticket_bucket('ticket_key') }} as ticket_bucket,
        project_key,
        {{ team_of_project('project_key') }} as team,
        moves.former_keys as former_keys,
        summary,
        issue_type,
        toBool({{ matches('issue_type', 'incident_type_pattern') }}) as is_incident,
        is_subtask,
        status,
        -- Jira also has statuses of no category: key undefined, or none at all.
        if(issues.status_category in ('new', 'indeterminate', 'done'), issues.status_category, null) as status_category,
        priority,
        resolution,
        assignee_id,
        assignee_name,
        {{ actor_kind('jira', 'assignee_id', 'assignee_name', 'assignee_type') }} as assignee_kind,
        reporter_id,
        reporter_name,
        {{ actor_kind('jira', 'reporter_id', 'reporter_name', 'reporter_type') }} as reporter_kind,
        creator_id,
        creator_name,
        {{ actor_kind(
            'jira', 'creator_id', 'creator_name',
            "multiIf(creator_id = reporter_id, reporter_type, creator_id = assignee_id, assignee_type, '')"
        ) }} as creator_kind,
        parent_key,
        -- The link as this ticket sees it: inward is `is caused by`.
        arrayDistinct(
            arrayFilter(
                key -> key != '',
                arrayMap(
                    link -> upper(JSONExtractString(link, 'key')),
                    arrayFilter(
                        link -> JSONExtractString(link, 'direction') = 'inward'
                        and match(JSONExtractString(link, 'type'), '(?i)cause|problem|incident'),
                        JSONExtractArrayRaw(links)
                    )
                )
            )
        ) as caused_by,
        labels,
        story_points,
        toBool(issues.status_category = 'done') as is_done,
        due_date,
        created_at,
        updated_at,
        resolved_at
    from issues
    left join moves
        on
            issues.source_name = moves.source_name
            and issues.issue_id = moves.issue_id

)

select * from final
