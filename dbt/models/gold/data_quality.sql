{{ config(
    order_by='(rule, entity, entity_key)',
    partition_by='month',
    dirty=[
        'select toYYYYMM(created_at) from ' ~ changes('pull_requests'),
        'select toYYYYMM(pull_request_created_at) from ' ~ changes('pull_request_commits'),
        'select toYYYYMM(pull_request_created_at) from ' ~ changes('pull_request_reviews'),
        'select toYYYYMM(run_created_at) from ' ~ changes('ci_runs'),
        'select toYYYYMM(created_at) from ' ~ changes('deployments'),
        "select toYYYYMM(created_at) from {{ ref('deployments') }}
        where (repository_id, sha) in (select repository_id, sha from " ~ changes('deployments') ~ ')',
        'select toYYYYMM(created_at) from ' ~ changes('jira_issues'),
        'select 0 from ' ~ changes('jira_issues'),
        'select toYYYYMM(started_at) from ' ~ changes('traces'),
        'select toYYYYMM(started_at) from ' ~ changes('agent_runs', 'gold_next'),
        'select toYYYYMM(started_at) from ' ~ changes('llm_calls'),
        "select month from {{ this }} where rule = 'unknown_ticket' and ticket_key in (select ticket_key from "
        ~ changes('jira_issues') ~ ')',
        "select toYYYYMM(created_at) from {{ ref('pull_requests') }} where {{ has_lost_ticket() }}",
        "select toYYYYMM(started_at) from {{ ref('traces') }} where {{ has_lost_ticket() }}",
        "select month from {{ this }} where rule = 'future_time'",
        'select toYYYYMM(rejected_at) from ' ~ changes('stg_github__rejected_rows'),
        'select toYYYYMM(rejected_at) from ' ~ changes('stg_jira__rejected_rows'),
        'select toYYYYMM(rejected_at) from ' ~ changes('stg_langfuse__rejected_rows'),
        'select toYYYYMM(rejected_at) from ' ~ changes('stg_prometheus__rejected_rows')
    ]
) }}

{#- Each rule is a step of its own, with the same columns; what is flagged is kept, never repaired. -#}
with recursive pull_requests as (

    select
        *,
        toYYYYMM(created_at) as month,
        concat(repository, '#', toString(pull_request_number)) as entity_key
    from {{ ref('pull_requests') }}
    where {{ in_dirty('toYYYYMM(created_at)') }}

),

commits as (

    select
        *,
        toYYYYMM(pull_request_created_at) as month,
        concat(repository, '#', toString(pull_request_number), '/', oid) as entity_key
    from {{ ref('pull_request_commits') }}
    where {{ in_dirty('toYYYYMM(pull_request_created_at)') }}

),

reviews as (

    select
        *,
        toYYYYMM(pull_request_created_at) as month,
        concat(repository, '#', toString(pull_request_number), '/', toString(review_index)) as entity_key
    from {{ ref('pull_request_reviews') }}
    where {{ in_dirty('toYYYYMM(pull_request_created_at)') }}

),

ci_runs as (

    select
        *,
        toYYYYMM(run_created_at) as month,
        concat(repository, '/', toString(run_id), '/', toString(run_attempt)) as entity_key
    from {{ ref('ci_runs') }}
    where {{ in_dirty('toYYYYMM(run_created_at)') }}

),

deployments as (

    select
        *,
        toYYYYMM(created_at) as month
    from {{ ref('deployments') }}
    where {{ in_dirty('toYYYYMM(created_at)') }}

),

same_deployments as (

    -- The same commit may have been deployed in another month.
    select * from {{ ref('deployments') }}
    where
        outcome = 'succeeded'
        and (repository_id, sha) in (
            select
                repository_id,
                sha
            from deployments
        )

),

tickets as (

    select
        *,
        toYYYYMM(created_at) as month
    from {{ ref('jira_issues') }}
    where {{ in_dirty('toYYYYMM(created_at)') }}

),

traces as (

    select
        *,
        toYYYYMM(started_at) as month,
        concat(project_id, '/', trace_id) as entity_key
    from {{ ref('traces') }}
    where {{ in_dirty('toYYYYMM(started_at)') }}

),

agent_runs as (

    select * from {{ ref('agent_runs') }}
    where {{ in_dirty('toYYYYMM(started_at)') }}

),

llm_calls as (

    select
        *,
        toYYYYMM(started_at) as month,
        concat(project_id, '/', observation_id) as entity_key
    from {{ ref('llm_calls') }}
    where {{ in_dirty('toYYYYMM(started_at)') }}

),

rejected as (

    {% for source_type in ['github', 'jira', 'langfuse', 'prometheus'] %}
        select
            '{{ source_type }}' as source_type,
            source_name,
            entity,
            column_name,
            problem,
            toYYYYMM(rejected_at) as month
        from {{ ref('stg_' ~ source_type ~ '__rejected_rows') }}
        {% if not loop.last %}
            union all
        {% endif %}
    {% endfor %}

),

newest_loads as (

    select
        (select max(loaded_at) from {{ ref('stg_github__loads') }}) + interval 1 hour as github,
        (select max(loaded_at) from {{ ref('stg_jira__loads') }}) + interval 1 hour as jira,
        (select max(loaded_at) from {{ ref('stg_langfuse__loads') }}) + interval 1 hour as langfuse

),

negative_durations as (

    select
        'negative_duration' as rule,
        'warning' as severity,
        'pull_requests' as entity,
        entity_key,
        ticket_key,
        if(merged_at < created_at, 'merged before it was opened', 'closed before it was opened') as detail,
        'pull_request_flow, pull_request_metrics: durations that would be negative' as excluded_from,
        month
    from pull_requests
    where merged_at < created_at or closed_at < created_at

    union all

    select
        'negative_duration' as rule,
        'warning' as severity,
        'pull_request_commits' as entity,
        commits.entity_key as entity_key,
        commits.ticket_key as ticket_key,
        'committed after the merge' as detail,
        'pull_request_flow: is_first_pass' as excluded_from,
        commits.month as month
    from commits
    inner join pull_requests
        on
            commits.repository_id = pull_requests.repository_id
            and commits.pull_request_number = pull_requests.pull_request_number
    where commits.committed_at > pull_requests.merged_at

    union all

    select
        'negative_duration' as rule,
        'warning' as severity,
        'ci_runs' as entity,
        entity_key,
        ticket_key,
        'completed before it started' as detail,
        'ci_metrics: duration_seconds' as excluded_from,
        month
    from ci_runs
    where completed_at < started_at

    union all

    select
        'negative_duration' as rule,
        'warning' as severity,
        'deployments' as entity,
        deployment_key as entity_key,
        '' as ticket_key,
        'finished before it was created' as detail,
        '' as excluded_from,
        month
    from deployments
    where finished_at < created_at

    union all

    select
        'negative_duration' as rule,
        'warning' as severity,
        'jira_issues' as entity,
        ticket_key as entity_key,
        ticket_key,
        'resolved before it was created' as detail,
        'tickets, ticket_flow: lead_time_seconds' as excluded_from,
        month
    from tickets
    where resolved_at < created_at

    union all

    select
        'negative_duration' as rule,
        'warning' as severity,
        'llm_calls' as entity,
        entity_key,
        ticket_key,
        'ended before it started' as detail,
        'llm_calls: duration_seconds' as excluded_from,
        month
    from llm_calls
    where ended_at < started_at

),

missing_authors as (

    select
        'missing_author' as rule,
        'warning' as severity,
        'pull_requests' as entity,
        entity_key,
        ticket_key,
        'the account of the author is gone' as detail,
        'agent_metrics' as excluded_from,
        month
    from pull_requests
    where coalesce(author_login, '') = ''

    union all

    select
        'missing_author' as rule,
        'info' as severity,
        'pull_request_reviews' as entity,
        entity_key,
        ticket_key,
        'the account of the reviewer is gone' as detail,
        'approvals, approver_load; pull_request_flow: human_reviews' as excluded_from,
        month
    from reviews
    where coalesce(reviewer_login, '') = ''

    union all

    select
        'missing_author' as rule,
        'info' as severity,
        'pull_request_commits' as entity,
        entity_key,
        ticket_key,
        'the commit names nobody' as detail,
        'pull_request_flow: human_commits, agent_commits' as excluded_from,
        month
    from commits
    where coalesce(author_login, '') = ''

    union all

    select
        'missing_author' as rule,
        'info' as severity,
        'jira_issues' as entity,
        ticket_key as entity_key,
        ticket_key,
        'nobody reported it' as detail,
        '' as excluded_from,
        month
    from tickets
    where coalesce(reporter_id, reporter_name, '') = ''

),

links as (

    select
        'parent' as kind,
        ticket_key as from_key,
        assumeNotNull(parent_key) as to_key
    from {{ ref('jira_issues') }}
    where parent_key != ''

    union all

    select
        'cause' as kind,
        ticket_key as from_key,
        arrayJoin(caused_by) as to_key
    from {{ ref('jira_issues') }}

),

circle_starts as (

    -- A circle is closed by a ticket that changed; of what stands already the flagged ones are looked at again.
    {% if is_partial() %}
        select ticket_key from {{ changes('jira_issues') }}
        union distinct
        select ticket_key from {{ this }}
        where rule = 'cyclic_link'
    {% else %}
        select distinct to_key as ticket_key from links
    {% endif %}

),

walks as (

    -- Along the links until a ticket comes again; 16 are more than any true chain of parents or causes.
    select
        kind,
        from_key as first_key,
        to_key as last_key,
        [from_key] as path
    from links
    where from_key in (select ticket_key from circle_starts)

    union all

    select
        links.kind as kind,
        walks.first_key as first_key,
        links.to_key as last_key,
        arrayPushBack(walks.path, links.from_key) as path
    from links
    inner join walks
        on
            links.kind = walks.kind
            and links.from_key = walks.last_key
    where walks.last_key != walks.first_key and not has(walks.path, walks.last_key) and length(walks.path) < 16

),

circles as (

    -- Every ticket of a circle tells it from itself on; of several circles the shortest.
    select
        kind,
        path[position] as ticket_key,
        argMin(
            arrayConcat(arraySlice(path, position), arraySlice(path, 1, position)), (length(path), path)
        ) as shortest
    from walks
    array join arrayEnumerate(path) as position
    where last_key = first_key
    group by
        kind,
        ticket_key

),

cyclic_links as (

    select
        'cyclic_link' as rule,
        'warning' as severity,
        'jira_issues' as entity,
        concat(ticket_key, '/', kind) as entity_key,
        ticket_key,
        concat(
            if(kind = 'parent', 'part of itself: ', 'caused by itself: '), arrayStringConcat(shortest, ' < ')
        ) as detail,
        '' as excluded_from,
        toUInt32(0) as month
    from circles

),

named_tickets as (

    select
        'pull_requests' as entity,
        entity_key,
        ticket_key,
        ticket_bucket,
        link_method,
        month
    from pull_requests
    where ticket_key != ''

    union all

    select
        'traces' as entity,
        entity_key,
        ticket_key,
        ticket_bucket,
        link_method,
        month
    from traces
    where ticket_key != ''

),

unknown_tickets as (

    -- Without Jira no key can be told from another.
    select
        'unknown_ticket' as rule,
        'warning' as severity,
        entity,
        entity_key,
        ticket_key,
        concat('Jira has no ', ticket_key, ', which the ', link_method, ' names') as detail,
        'approval_funnel, ticket_flow; numbers by issue type' as excluded_from,
        month
    from named_tickets
    where
        ticket_key not in (
            select ticket_key from {{ ref('jira_issues') }}
            where ticket_bucket in (select ticket_bucket from named_tickets)
        )
        and (select count() from {{ ref('jira_issues') }}) > 0

),

usual_costs as (

    select
        model,
        month,
        {{ stats('toFloat64(cost_usd)', 'usd') }}
    from llm_calls
    where cost_usd > 0
    group by
        model,
        month

),

cost_outliers as (

    -- What it cost was paid, so that no sum leaves it out.
    select
        'cost_outlier' as rule,
        'warning' as severity,
        'llm_calls' as entity,
        llm_calls.entity_key as entity_key,
        llm_calls.ticket_key as ticket_key,
        concat(
            toString(round(toFloat64(llm_calls.cost_usd) / usual_costs.usd_p50)),
            ' times the median of ', llm_calls.model, ' in the month'
        ) as detail,
        '' as excluded_from,
        llm_calls.month as month
    from llm_calls
    inner join usual_costs
        on
            llm_calls.model = usual_costs.model
            and llm_calls.month = usual_costs.month
    where toFloat64(llm_calls.cost_usd) >= usual_costs.usd_p50 * {{ var('cost_outlier_factor') }}

),

orphan_observations as (

    select
        'orphan_observation' as rule,
        'warning' as severity,
        'llm_calls' as entity,
        entity_key,
        ticket_key,
        if(trace_id = '', 'names no trace', concat('its trace ', trace_id, ' is not known')) as detail,
        'agent_runs, agent_metrics' as excluded_from,
        month
    from llm_calls
    where trace_started_at is null

),

trace_costs_differ as (

    -- Langfuse adds up a parent and its children, we the deepest that say a cost.
    select
        'trace_cost_differs' as rule,
        'info' as severity,
        'traces' as entity,
        traces.entity_key as entity_key,
        traces.ticket_key as ticket_key,
        concat(
            'Langfuse shows ', toString(traces.langfuse_cost_usd), ', its calls cost ', toString(agent_runs.cost_usd)
        ) as detail,
        '' as excluded_from,
        traces.month as month
    from traces
    inner join agent_runs
        on
            traces.project_id = agent_runs.project_id
            and traces.trace_id = agent_runs.trace_id
    where traces.langfuse_cost_usd != agent_runs.cost_usd

),

repeated_deployments as (

    select
        deployment_key,
        created_at,
        environment,
        sha,
        row_number() over (
            partition by repository_id, environment, sha
            order by created_at, deployment_key
        ) as times
    from same_deployments

),

duplicate_deployments as (

    -- It may be meant (a rollback, another try), and it was a deployment.
    select
        'duplicate_deployment' as rule,
        'info' as severity,
        'deployments' as entity,
        deployment_key as entity_key,
        '' as ticket_key,
        concat('time ', toString(times), ' that ', sha, ' went to ', environment) as detail,
        '' as excluded_from,
        toYYYYMM(created_at) as month
    from repeated_deployments
    where times > 1

),

dated as (

    select
        'pull_requests' as entity,
        entity_key,
        ticket_key,
        arrayMax(
            [created_at, updated_at, coalesce(merged_at, created_at), coalesce(closed_at, created_at)]
        ) as newest_at,
        github as bound_at,
        month
    from pull_requests
    cross join newest_loads

    union all

    select
        'ci_runs' as entity,
        entity_key,
        ticket_key,
        greatest(run_created_at, coalesce(completed_at, run_created_at)) as newest_at,
        github as bound_at,
        month
    from ci_runs
    cross join newest_loads

    union all

    select
        'deployments' as entity,
        deployment_key as entity_key,
        '' as ticket_key,
        greatest(created_at, coalesce(finished_at, created_at)) as newest_at,
        github as bound_at,
        month
    from deployments
    cross join newest_loads

    union all

    select
        'jira_issues' as entity,
        ticket_key as entity_key,
        ticket_key,
        arrayMax([created_at, updated_at, coalesce(resolved_at, created_at)]) as newest_at,
        jira as bound_at,
        month
    from tickets
    cross join newest_loads

    union all

    select
        'traces' as entity,
        entity_key,
        ticket_key,
        started_at as newest_at,
        langfuse as bound_at,
        month
    from traces
    cross join newest_loads

    union all

    select
        'llm_calls' as entity,
        entity_key,
        ticket_key,
        greatest(started_at, coalesce(ended_at, started_at)) as newest_at,
        langfuse as bound_at,
        month
    from llm_calls
    cross join newest_loads

),

future_times as (

    select
        'future_time' as rule,
        'warning' as severity,
        entity,
        entity_key,
        ticket_key,
        concat(toString(newest_at), ' is after the newest load') as detail,
        '' as excluded_from,
        month
    from dated
    where newest_at > bound_at

),

negative_amounts as (

    -- A client of Langfuse may send any number.
    select
        'negative_amount' as rule,
        'warning' as severity,
        'llm_calls' as entity,
        entity_key,
        ticket_key,
        concat('costs ', toString(cost_usd), ' US dollars for ', toString(total_tokens), ' tokens') as detail,
        '' as excluded_from,
        month
    from llm_calls
    where cost_usd < 0 or total_tokens < 0

),

rejected_rows as (

    -- One fault of a source may meet many answers: one row says how many.
    select
        'rejected_rows' as rule,
        'warning' as severity,
        concat(rejected.source_type, '_', rejected.entity) as entity,
        concat(rejected.source_name, '/', rejected.column_name, '/', toString(rejected.month)) as entity_key,
        '' as ticket_key,
        concat(toString(count()), ' answers made no row, for one: ', min(rejected.problem)) as detail,
        'everything: bronze alone keeps them (rejected_rows)' as excluded_from,
        rejected.month as month
    from rejected
    group by
        rejected.source_type,
        rejected.source_name,
        rejected.entity,
        rejected.column_name,
        rejected.month

),

flagged as (

    select * from negative_durations
    union all
    select * from missing_authors
    union all
    select * from cyclic_links
    union all
    select * from unknown_tickets
    union all
    select * from cost_outliers
    union all
    select * from orphan_observations
    union all
    select * from trace_costs_differ
    union all
    select * from duplicate_deployments
    union all
    select * from future_times
    union all
    select * from negative_amounts
    union all
    select * from rejected_rows

),

final as (

    select
        rule,
        severity,
        entity,
        entity_key,
        ticket_key,
        coalesce(detail, '') as detail,
        excluded_from,
        month
    from flagged

)

select * from final
