{{ config(order_by='(scope, scope_value, status, status_kind)') }}

with open_issues as (

    select * from {{ ref('jira_issues') }}
    where not is_done

),

current_stays as (

    select * from {{ ref('ticket_stages') }}
    where left_at is null

),

clock as (

    -- Ages are measured at the newest thing that Jira told, not at the time of the build: the same data, the same ages.
    select max(updated_at) as as_of
    from {{ ref('jira_issues') }}

),

ages as (

    select
        open_issues.ticket_key as ticket_key,
        open_issues.team as team,
        open_issues.project_key as project_key,
        open_issues.status as status,
        current_stays.status_kind as status_kind,
        open_issues.created_at as created_at,
        clock.as_of as as_of,
        {{ seconds_between('open_issues.created_at', 'clock.as_of') }} as age_seconds,
        {{ seconds_between('current_stays.entered_at', 'clock.as_of') }} as in_status_seconds
    from current_stays
    inner join open_issues on current_stays.ticket_key = open_issues.ticket_key
    cross join clock

),

final as (

    select
        tupleElement(in_scope, 1) as scope,
        tupleElement(in_scope, 2) as scope_value,
        status,
        status_kind,
        count() as tickets,
        {{ stats('age_seconds', 'age_seconds') }},
        {{ stats('in_status_seconds', 'in_status_seconds') }},
        argMin(ticket_key, (created_at, ticket_key)) as oldest_ticket_key,
        any(as_of) as as_of
    from ages
    array join {{ scope_rows(team='team', project='project_key') }} as in_scope
    group by
        scope,
        scope_value,
        status,
        status_kind

)

select * from final
