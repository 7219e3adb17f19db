{#- Rules that several models of delivery share. docs: docs/dora.md. -#}

{#-
    The successful production deployments with the place in history of what they brought out: position, and base_ref, the
    branch that they came from (null: any). A deployment of a merged pull request's commit stands where that pull request
    does, whenever it was deployed: so going back to an older commit brings nothing new out. Else it stands at its own time.
    condition: over the columns of deployments, which of them are wanted.
-#}
{% macro deployment_positions(condition='true') -%}
    select
        deployments.deployment_key as deployment_key,
        deployments.repository_id as repository_id,
        deployments.environment as environment,
        deployments.sha as sha,
        assumeNotNull(deployments.finished_at) as deployed_at,
        toBool(heads.sha is not null) as is_head_known,
        coalesce(heads.merged_at, deployments.created_at) as position,
        if(heads.sha is not null, heads.base_ref, branches.default_branch) as base_ref
    from {{ ref('deployments') }} as deployments
    left join (
        -- Of pull requests with one merge commit (they were merged together) the one merged last.
        select
            repository_id,
            assumeNotNull(merge_commit_sha) as sha,
            max(assumeNotNull(merged.merged_at)) as merged_at,
            argMax(merged.base_ref, (assumeNotNull(merged.merged_at), pull_request_number)) as base_ref
        from {{ ref('pull_requests') }} as merged
        where
            merged.is_merged
            and coalesce(merged.merge_commit_sha, '') in (
                select deployments.sha from {{ ref('deployments') }} as deployments
                where deployments.sha != '' and {{ condition }}
            )
        group by
            repository_id,
            sha
    ) as heads
        on
            deployments.repository_id = heads.repository_id
            and deployments.sha = heads.sha
    left join (
        select
            repository_id,
            default_branch
        from {{ ref('repositories') }}
        where default_branch != ''
    ) as branches
        on deployments.repository_id = branches.repository_id
    where
        deployments.is_production
        and deployments.outcome = 'succeeded'
        and deployments.finished_at is not null
        and {{ condition }}
{%- endmacro %}

{#-
    A condition on deployments: their place is that of the oldest row of the CTE oldest (merged_at) or a later one. Those
    before it carry nothing of what is built.
-#}
{% macro is_placed_since_oldest() -%}
    (
        deployments.created_at >= (select merged_at from oldest)
        or deployments.sha in (
            select coalesce(merge_commit_sha, '') from {{ ref('pull_requests') }}
            where merged_at >= (select merged_at from oldest)
        )
    )
{%- endmacro %}

{#-
    The deployments that changed, or whose commit a changed pull request explains; old and new rows alike:
    deployment_key, repository_id, deployed_at.
-#}
{% macro changed_deployments() -%}
    select
        deployment_key,
        repository_id,
        finished_at as deployed_at
    from {{ changes('deployments') }}
    where is_production and outcome = 'succeeded' and finished_at is not null
    union distinct
    select
        deployment_key,
        repository_id,
        finished_at as deployed_at
    from {{ ref('deployments') }}
    where
        is_production
        and outcome = 'succeeded'
        and finished_at is not null
        and sha in (select coalesce(merge_commit_sha, '') from {{ changes('pull_requests') }})
{%- endmacro %}

{#- Whether a run of CI failed; the run was not cancelled, skipped or passed over. -#}
{% macro is_failed_run(conclusion) -%}
    coalesce({{ conclusion }}, '') in ('failure', 'timed_out', 'startup_failure')
{%- endmacro %}
