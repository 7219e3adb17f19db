{{ config(
    partition_by='toYYYYMM(created_at)',
    order_by='(repository_id, deployment_key)',
    dirty=[
        "select toYYYYMM(created_at) from " ~ changes('deployments') ~ " where is_production",
        "select toYYYYMM(created_at) from {{ ref('deployments') }} where deployment_key in (
             select deployment_key from {{ changes('deployment_changes') }}
             union distinct
             select assumeNotNull(deployment_key) from {{ changes('incidents') }} where deployment_key is not null
             union distinct
             select deployment_key from {{ ref('deployment_changes') }}
             where (repository_id, pull_request_number) in (
                 select repository_id, pull_request_number from {{ changes('pull_requests') }}
                 union distinct
                 select repository_id, pull_request_number from {{ ref('pull_requests') }}
                 where ticket_key in (select incident_key from {{ changes('incidents') }} where kind = 'ticket')
             )
         )",
    ]
) }}

with deployments as (

    select * from {{ ref('deployments') }}
    where is_production and {{ in_dirty('toYYYYMM(created_at)') }}

),

incidents as (

    select * from {{ ref('incidents') }}

),

carried as (

    select * from {{ ref('deployment_changes') }}
    where deployment_key in (select deployment_key from deployments)

),

pull_requests as (

    select
        repository_id,
        pull_request_number,
        url,
        ticket_key,
        is_revert,
        toBool(ticket_key in (
            select incident_key from incidents
            where kind = 'ticket'
        )) as is_incident_fix
    from {{ ref('pull_requests') }}
    where (repository_id, pull_request_number) in (select
        repository_id,
        pull_request_number
    from carried)

),

changes_by_deployment as (

    -- What was there before deployments were recorded makes no deployment a repair.
    select
        carried.deployment_key as deployment_key,
        count() as changes,
        arraySort(groupUniqArray(pull_requests.url)) as change_urls,
        arraySort(groupUniqArrayIf(pull_requests.ticket_key, pull_requests.ticket_key != '')) as ticket_keys,
        arraySort(
            groupUniqArrayIf(
                if(pull_requests.is_incident_fix, pull_requests.ticket_key, pull_requests.url),
                not carried.is_baseline and (pull_requests.is_incident_fix or pull_requests.is_revert)
            )
        ) as repairs
    from carried
    inner join pull_requests
        on
            carried.repository_id = pull_requests.repository_id
            and carried.pull_request_number = pull_requests.pull_request_number
    group by carried.deployment_key

),

incidents_by_deployment as (

    select
        assumeNotNull(deployment_key) as failed_key,
        arraySort(groupUniqArray(incident_key)) as incident_keys,
        min(opened_at) as first_incident_at,
        if(countIf(resolved_at is null) > 0, null, max(resolved_at)) as recovered_at
    from incidents
    where deployment_key is not null
    group by failed_key

),

final as (

    select
        deployments.deployment_key as deployment_key,
        deployments.kind as kind,
        deployments.repository_id as repository_id,
        deployments.repository as repository,
        nullIf(deployments.team, '') as team,
        deployments.environment as environment,
        deployments.sha as sha,
        deployments.creator_login as creator_login,
        deployments.creator_kind as creator_kind,
        deployments.outcome as outcome,
        deployments.created_at as created_at,
        deployments.finished_at as finished_at,
        coalesce(changes_by_deployment.changes, 0) as changes,
        changes_by_deployment.change_urls as change_urls,
        changes_by_deployment.ticket_keys as ticket_keys,
        if(
            deployments.outcome = 'succeeded', toBool(incidents_by_deployment.failed_key is not null), null
        ) as is_failed,
        incidents_by_deployment.incident_keys as incident_keys,
        incidents_by_deployment.first_incident_at as first_incident_at,
        incidents_by_deployment.recovered_at as recovered_at,
        {{ seconds_between('deployments.finished_at', 'incidents_by_deployment.recovered_at') }} as recovery_seconds,
        if(
            deployments.outcome = 'succeeded', toBool(notEmpty(changes_by_deployment.repairs)), null
        ) as is_rework,
        if(is_rework, arrayStringConcat(changes_by_deployment.repairs, ', '), null) as rework_because
    from deployments
    left join changes_by_deployment on deployments.deployment_key = changes_by_deployment.deployment_key
    left join incidents_by_deployment on deployments.deployment_key = incidents_by_deployment.failed_key

)

select * from final
