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

incidents as (

    select
        ticket_key as incident_key,
        'ticket' as kind,
        team,
        toNullable(project_key) as project_key,
        coalesce(summary, '') as title,
        created_at as opened_at,
        resolved_at
    from tickets

    union all

    select
        url as incident_key,
        'revert' as kind,
        team,
        null as project_key,
        title,
        created_at as opened_at,
        null as resolved_at
    from reverts

),

named_causes as (

    select
        ticket_key,
        arrayJoin(caused_by) as cause
    from tickets

),

causes as (

    select
        named_causes.ticket_key as incident_key,
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

    -- What was changed because of an incident. Where it is known what a revert reverts, time alone tells nothing.
    select
        ticket_key as incident_key,
        repository_id,
        repository,
        pull_request_number,
        reverts_number,
        created_at,
        true as is_place
    from pull_requests
    where ticket_key in (select ticket_key from tickets)

    union all

    select
        url as incident_key,
        repository_id,
        repository,
        pull_request_number,
        reverts_number,
        created_at,
        reverts_number is null as is_place
    from reverts

),

evidence as (

    -- The pull requests that tell of an incident's deployment: those of its causes, its own, and those they revert.
    select
        causes.incident_key as incident_key,
        'cause' as role,
        causes.cause as cause,
        causing.repository_id as repository_id,
        '' as repository,
        causing.pull_request_number as pull_request_number,
        toInt64(0) as reverted_by,
        concat('caused by ', causes.cause, ', ', causing.url) as told,
        toDateTime64(0, 6, 'UTC') as created_at,
        false as is_place
    from causes
    left join causing on causes.cause = causing.ticket_key

    union all

    select
        incident_key,
        'own' as role,
        '' as cause,
        repository_id,
        repository,
        pull_request_number,
        toInt64(0) as reverted_by,
        '' as told,
        created_at,
        is_place
    from own_pull_requests

    union all

    select
        own.incident_key as incident_key,
        'reverted' as role,
        '' as cause,
        own.repository_id as repository_id,
        own.repository as repository,
        own.reverts_number as pull_request_number,
        own.pull_request_number as reverted_by,
        concat('reverts ', own.repository, '#', toString(own.reverts_number)) as told,
        own.created_at as created_at,
        false as is_place
    from own_pull_requests as own
    where own.reverts_number is not null

),

changes as (

    select * from {{ ref('deployment_changes') }}
    where
        (repository_id, pull_request_number) in (
            select
                repository_id,
                pull_request_number
            from evidence
        )

),

deployed_evidence as (

    select
        evidence.incident_key as incident_key,
        evidence.role as role,
        evidence.cause as cause,
        coalesce(evidence.repository_id, 0) as repository_id,
        evidence.repository as repository,
        coalesce(evidence.pull_request_number, 0) as pull_request_number,
        evidence.reverted_by as reverted_by,
        evidence.created_at as created_at,
        evidence.is_place as is_place,
        changes.deployed_at as deployed_at,
        coalesce(changes.deployment_key, '') as deployment_key,
        (
            coalesce(changes.deployed_at, toDateTime64(0, 6, 'UTC')),
            coalesce(changes.deployment_key, ''),
            coalesce(changes.repository, ''),
            coalesce(evidence.told, '')
        ) as link
    from evidence
    left join changes
        on
            evidence.repository_id = changes.repository_id
            and evidence.pull_request_number = changes.pull_request_number

),

evidence_by_incident as (

    select
        incident_key,
        arraySort(groupUniqArrayIf(cause, role = 'cause')) as caused_by,
        groupArrayIf(link, role = 'cause' and deployment_key != '') as cause_links,
        groupArrayIf(
            (link, (repository_id, reverted_by, deployment_key)), role = 'reverted' and deployment_key != ''
        ) as revert_links,
        groupArrayIf((repository_id, pull_request_number, deployment_key), role = 'own') as own_deployments,
        groupUniqArrayIf(repository_id, is_place) as repository_ids,
        maxIf(deployed_at, role = 'own') as own_deployed_at,
        argMinIf(repository, (created_at, repository, pull_request_number), role = 'own') as first_repository
    from deployed_evidence
    group by incident_key

),

repositories_by_team as (

    select
        team,
        groupUniqArray(repository_id) as repository_ids
    from deployments
    where team != ''
    group by team

),

linked as (

    -- What was reverted by the deployment that brought it out never failed in production alone.
    select
        incidents.incident_key as incident_key,
        incidents.kind as kind,
        incidents.team as team,
        incidents.project_key as project_key,
        incidents.title as title,
        incidents.opened_at as opened_at,
        if(incidents.kind = 'revert', evidence.own_deployed_at, incidents.resolved_at) as resolved_at,
        evidence.caused_by as caused_by,
        evidence.first_repository as first_repository,
        arrayReverseSort(
            arrayFilter(cause_link -> cause_link.1 <= incidents.opened_at, evidence.cause_links)
        )[1] as by_cause,
        arrayReverseSort(
            arrayMap(
                reverted -> reverted.1,
                arrayFilter(reverted -> not has(evidence.own_deployments, reverted.2), evidence.revert_links)
            )
        )[1] as by_revert,
        multiIf(
            by_cause.2 != '' or by_revert.2 != '', [],
            notEmpty(evidence.own_deployments), evidence.repository_ids,
            repositories_by_team.repository_ids
        ) as repository_ids
    from incidents
    left join evidence_by_incident as evidence on incidents.incident_key = evidence.incident_key
    left join repositories_by_team on incidents.team = repositories_by_team.team

),

placed as (

    select
        *,
        arrayJoin(if(empty(repository_ids), [0], repository_ids)) as repository_id
    from linked

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

timed as (

    select
        placed.* except (repository_id),
        (
            coalesce(deployments_by_time.deployed_at, toDateTime64(0, 6, 'UTC')),
            coalesce(deployments_by_time.deployment.1, ''),
            coalesce(deployments_by_time.deployment.2, ''),
            'last deployment before it'
        ) as by_time
    from placed
    asof left join deployments_by_time
        on
            placed.repository_id = deployments_by_time.repository_id
            and placed.opened_at >= deployments_by_time.deployed_at
    order by by_time desc
    limit 1 by incident_key

),

chosen as (

    select
        *,
        multiIf(by_cause.2 != '', 'cause', by_revert.2 != '', 'revert', by_time.2 != '', 'time', 'none') as linked_by,
        multiIf(linked_by = 'cause', by_cause, linked_by = 'revert', by_revert, by_time) as link
    from timed

),

final as (

    select
        incident_key,
        kind,
        team,
        project_key,
        if(linked_by = 'none', nullIf(first_repository, ''), link.3) as repository,
        title,
        opened_at,
        resolved_at,
        caused_by,
        if(linked_by = 'none', null, link.2) as deployment_key,
        linked_by,
        if(linked_by = 'none', null, link.1) as deployed_at,
        if(linked_by = 'none', '', link.4) as evidence
    from chosen

)

select * from final
