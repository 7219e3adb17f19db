{{ config(order_by='(project_key)') }}

with staged as (

    select * from {{ ref('stg_jira__projects') }}

),

issues as (

    select * from {{ ref('jira_issues') }}

),

described as (

    -- A project deleted and made anew has its key twice, and two sources may see it: the row read last stays.
    select * from staged
    order by loaded_at desc, source_name asc, project_id desc
    limit 1 by project_key

),

project_keys as (

    select project_key from described

    union distinct

    select project_key from issues

    union distinct

    -- All tickets of a project may have moved away since.
    select {{ project_of_key('arrayJoin(former_keys)') }} as project_key from issues

),

final as (

    select
        project_keys.project_key as project_key,
        described.project_name as project_name,
        described.project_type as project_type,
        described.lead_id as lead_id,
        {{ team_of_project('project_keys.project_key') }} as team,
        described.is_archived as is_archived
    from project_keys
    left join described on project_keys.project_key = described.project_key
    where project_keys.project_key != ''

)

select * from final
