{{ config(order_by='incident_key') }}

with tickets as (

    select * from {{ ref('jira_issues') }}
    where is_incident

),

pull_requests as (

    select * from {{ ref('pull_requests') }}

),

deployments as (

    select * from {{ ref('deployments') }}
    where is_production and outcome = 'succeeded' and finished_at is not null

),

moved_tickets as (

    select * from {{ ref('moved_tickets') }}

),

reverts as (

    -- A revert of an incident's ticket is that incident's fix, and no incident of its own.
    select * from pull_requests
    where is_merged and is_revert and ticket_key not in (select ticket_key from tickets)

),

named_causes as (

    select
        ticket_key,
        created_at,
        arrayJoin(caused_by) as cause
    from tickets

),

causes as (

    select
        named_causes.ticket_key as incident_key,
        named_causes.created_at as opened_at,
        coalesce(moved_tickets.current_key, named_causes.cause) as cause
    from named_causes
    left join moved_tickets on named_causes.cause = moved_tickets.former_key

),

causing as (

    select
        ticket_key,
        repository_id,
        pull_request_number,
        url
    from pull_requests
    where ticket_key in (select cause from causes)

),

own_pull_requests as (

    -- What was changed because of an incident.
    select
        ticket_key as incident_key,
        repository_id,
        repository,
        pull_request_number,
        reverts_number,
        created_at
    from pull_requests
    where ticket_key in (select ticket_key from tickets)

    union all

    select
        url as incident_key,
        repository_id,
        repository,
        pull_request_number,
        reverts_number,
        created_at
    from reverts

),

linked_pull_requests as (

    select
        repository_id,
        pull_request_number
    from own_pull_requests

    union distinct

    select
        repository_id,
        assumeNotNull(reverts_number) as pull_request_number
    from own_pull_requests
    where reverts_number is not null

    union distinct

    select
        repository_id,
        pull_request_number
    from causing

),

changes as (

    select * from {{ ref('deployment_changes') }}
    where
        (repository_id, pull_request_number) in (
            select
                repository_id,
                pull_request_number
            from linked_pull_requests
        )

),

causes_by_incident as (

    select
        incident_key,
        arraySort(groupUniqArray(cause)) as caused_by
    from causes
    group by incident_key

),

incidents as (

    select
        tickets.ticket_key as incident_key,
        'ticket' as kind,
        tickets.team as team,
        toNullable(tickets.project_key) as project_key,
        coalesce(tickets.summary, '') as title,
        tickets.created_at as opened_at,
        tickets.resolved_at as resolved_at,
        causes_by_incident.caused_by as caused_by
    from tickets
    left join causes_by_incident on tickets.ticket_key = causes_by_incident.incident_key

    union all

    select
        reverts.url as incident_key,
        'revert' as kind,
        reverts.team as team,
        null as project_key,
        reverts.title as title,
        reverts.created_at as opened_at,
        changes.deployed_at as resolved_at,
        cast([], 'Array(String)') as caused_by
    from reverts
    left join changes
        on
            reverts.repository_id = changes.repository_id
            and reverts.pull_request_number = changes.pull_request_number

),

by_cause as (

    select
        causes.incident_key as incident_key,
        argMax(
            (changes.deployment_key, changes.deployed_at, changes.repository),
            (changes.deployed_at, changes.deployment_key)
        ) as deployment,
        argMax(
            concat('caused by ', causes.cause, ', ', causing.url),
            (changes.deployed_at, changes.deployment_key, causing.url)
        ) as evidence
    from causes
    inner join causing on causes.cause = causing.ticket_key
    inner join changes
        on
            causing.repository_id = changes.repository_id
            and causing.pull_request_number = changes.pull_request_number
    where changes.deployed_at <= causes.opened_at
    group by causes.incident_key

),

by_revert as (

    -- What was reverted before it was deployed never failed in production.
    select
        own_pull_requests.incident_key as incident_key,
        argMax(
            (changes.deployment_key, changes.deployed_at, changes.repository),
            (changes.deployed_at, changes.deployment_key)
        ) as deployment,
        argMax(
            concat('reverts ', changes.repository, '#', toString(changes.pull_request_number)),
            (changes.deployed_at, changes.deployment_key, changes.pull_request_number)
        ) as evidence
    from own_pull_requests
    inner join changes
        on
            own_pull_requests.repository_id = changes.repository_id
            and own_pull_requests.reverts_number = changes.pull_request_number
    left join changes as own_changes
        on
            own_pull_requests.repository_id = own_changes.repository_id
            and own_pull_requests.pull_request_number = own_changes.pull_request_number
    where changes.deployment_key != coalesce(own_changes.deployment_key, '')
    group by own_pull_requests.incident_key

),

repositories_by_team as (

    select distinct
        team,
        repository_id
    from deployments
    where team != ''

),

repositories_by_incident as (

    select distinct
        incidents.incident_key as incident_key,
        incidents.opened_at as opened_at,
        own_pull_requests.repository_id as repository_id
    from incidents
    inner join own_pull_requests on incidents.incident_key = own_pull_requests.incident_key
    where incidents.kind = 'ticket' or own_pull_requests.reverts_number is null

    union all

    select distinct
        incidents.incident_key as incident_key,
        incidents.opened_at as opened_at,
        repositories_by_team.repository_id as repository_id
    from incidents
    inner join repositories_by_team on incidents.team = repositories_by_team.team
    where incidents.incident_key not in (select incident_key from own_pull_requests)

),

deployments_by_time as (

    select
        repository_id,
        assumeNotNull(finished_at) as deployed_at,
        max((deployment_key, repository)) as deployment
    from deployments
    group by
        repository_id,
        deployed_at

),

by_time as (

    select
        repositories_by_incident.incident_key as incident_key,
        argMax(
            (
                deployments_by_time.deployment.1,
                deployments_by_time.deployed_at,
                deployments_by_time.deployment.2
            ),
            (deployments_by_time.deployed_at, deployments_by_time.deployment.1)
        ) as deployment
    from repositories_by_incident
    asof left join deployments_by_time
        on
            repositories_by_incident.repository_id = deployments_by_time.repository_id
            and repositories_by_incident.opened_at >= deployments_by_time.deployed_at
    where deployments_by_time.repository_id is not null
    group by repositories_by_incident.incident_key

),

first_repositories as (

    select
        incident_key,
        argMin(repository, (created_at, repository, pull_request_number)) as repository
    from own_pull_requests
    group by incident_key

),

linked as (

    select
        incidents.incident_key as incident_key,
        incidents.* except (incident_key),
        multiIf(
            by_cause.incident_key is not null, 'cause',
            by_revert.incident_key is not null, 'revert',
            by_time.incident_key is not null, 'time',
            'none'
        ) as linked_by,
        multiIf(
            linked_by = 'cause', by_cause.deployment,
            linked_by = 'revert', by_revert.deployment,
            by_time.deployment
        ) as deployment,
        first_repositories.repository as first_repository,
        multiIf(
            linked_by = 'cause', coalesce(by_cause.evidence, ''),
            linked_by = 'revert', coalesce(by_revert.evidence, ''),
            linked_by = 'time', 'last deployment before it',
            ''
        ) as evidence
    from incidents
    left join by_cause on incidents.incident_key = by_cause.incident_key
    left join by_revert on incidents.incident_key = by_revert.incident_key
    left join by_time on incidents.incident_key = by_time.incident_key
    left join first_repositories on incidents.incident_key = first_repositories.incident_key

),

final as (

    select
        incident_key,
        kind,
        team,
        project_key,
        if(linked_by = 'none', first_repository, deployment.3) as repository,
        title,
        opened_at,
        resolved_at,
        caused_by,
        if(linked_by = 'none', null, deployment.1) as deployment_key,
        linked_by,
        if(linked_by = 'none', null, deployment.2) as deployed_at,
        evidence
    from linked

)

select * from final
