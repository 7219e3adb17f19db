{{ config(
    partition_by='toYYYYMM(merged_at)',
    order_by='(repository_id, pull_request_number)',
    indexes=[by_number()],
    dirty=[
        "select toYYYYMM(merged_at) from " ~ changes('pull_requests') ~ " where merged_at is not null",
        "select toYYYYMM(merged_at) from {{ ref('pull_requests') }}
         where merged_at is not null and repository_id in (select repository_id from {{ changes('repositories') }})",
        "select toYYYYMM(merged_at) from {{ this }}
         where deployment_key in (select deployment_key from ({{ changed_deployments() }}))",
        "select toYYYYMM(carried.merged_at) from {{ this }} as carried
         inner join (
             select repository_id, min(deployed_at) as since from ({{ changed_deployments() }}) group by repository_id
         ) as changed on carried.repository_id = changed.repository_id
         where carried.deployed_at >= changed.since",
        "select toYYYYMM(waiting.merged_at) from {{ ref('pull_requests') }} as waiting
         inner join (
             select repository_id, base_ref, max(position) as until
             from ({{ deployment_positions('deployment_key in (select deployment_key from (' ~ changed_deployments() ~ '))') }})
             group by repository_id, base_ref
         ) as changed on waiting.repository_id = changed.repository_id
         where
             waiting.is_merged and waiting.merged_at <= changed.until
             and (changed.base_ref is null or waiting.base_ref = changed.base_ref)
             and (waiting.repository_id, waiting.pull_request_number)
                 not in (select repository_id, pull_request_number from {{ this }})",
    ]
) }}

-- Which rows a new deployment touches: those that wait for one, and those that a later deployment carried until now.

with merged as (

    select
        repository_id,
        repository,
        pull_request_number,
        base_ref,
        merge_commit_sha,
        assumeNotNull(merged_at) as merged_at
    from {{ ref('pull_requests') }}
    where is_merged and {{ in_dirty('toYYYYMM(merged_at)') }}

),

oldest as (

    select min(merged_at) as merged_at from merged

),

positions as (

    {{ deployment_positions(if_partial(is_placed_since_oldest())) }}

),

first_deployments as (

    select
        repository_id,
        argMin(deployment_key, (finished_at, deployment_key)) as deployment_key
    from {{ ref('deployments') }}
    where is_production and outcome = 'succeeded' and finished_at is not null
    group by repository_id

),

branches as (

    select distinct
        repository_id,
        base_ref
    from merged

),

carriers as (

    select
        positions.repository_id as repository_id,
        coalesce(positions.base_ref, branches.base_ref) as base_ref,
        positions.position as position,
        (
            positions.deployed_at,
            positions.deployment_key,
            positions.environment,
            positions.sha,
            positions.is_head_known
        ) as deployment
    from positions
    -- Where nothing tells which branch it came from, any may be meant.
    left join branches
        on
            positions.repository_id = branches.repository_id
            and positions.base_ref is null
    where coalesce(positions.base_ref, branches.base_ref) is not null

),

carriers_by_position as (

    select
        repository_id,
        assumeNotNull(base_ref) as base_ref,
        position,
        min(deployment) as deployment
    from carriers
    group by
        repository_id,
        base_ref,
        position

),

first_carriers as (

    -- The first to be finished of those that stand here or later.
    select
        repository_id,
        base_ref,
        position,
        min(deployment) over (
            partition by repository_id, base_ref
            order by position desc
            rows between unbounded preceding and current row
        ) as deployment
    from carriers_by_position

),

carried as (

    select
        merged.repository_id as repository_id,
        merged.repository as repository,
        merged.pull_request_number as pull_request_number,
        merged.merged_at as merged_at,
        assumeNotNull(first_carriers.deployment.1) as deployed_at,
        assumeNotNull(first_carriers.deployment.2) as deployment_key,
        assumeNotNull(first_carriers.deployment.3) as environment,
        multiIf(
            first_carriers.deployment.4 = coalesce(merged.merge_commit_sha, ''), 'commit',
            first_carriers.deployment.5, 'ancestry',
            'time'
        ) as linked_by
    from merged
    asof left join first_carriers
        on
            merged.repository_id = first_carriers.repository_id
            and merged.base_ref = first_carriers.base_ref
            and merged.merged_at <= first_carriers.position
    where first_carriers.repository_id is not null

),

final as (

    select
        carried.repository_id as repository_id,
        repository,
        pull_request_number,
        merged_at,
        carried.deployment_key as deployment_key,
        environment,
        deployed_at,
        linked_by,
        toBool(linked_by != 'commit' and first_deployments.deployment_key is not null) as is_baseline
    from carried
    left join first_deployments
        on
            carried.repository_id = first_deployments.repository_id
            and carried.deployment_key = first_deployments.deployment_key

)

select * from final
