{{ config(
    order_by='(period, scope, scope_value, actor_kind, issue_type, period_start)',
    partition_by='toYYYYMM(period_start)',
    dirty=[
        'select arrayJoin(arrayConcat(' ~ period_months('created_at') ~ ', ' ~ period_months('merged_at') ~ ', '
        ~ period_months('closed_at') ~ ')) from ' ~ changes('pull_request_flow', 'gold_next'),
        'select arrayJoin(' ~ period_months('resolved_at') ~ ') from ' ~ changes('tickets', 'gold_next'),
        'select arrayJoin(' ~ period_months('started_at') ~ ') from ' ~ changes('agent_runs', 'gold_next'),
        'select arrayJoin(' ~ period_months('started_at') ~ ") from {{ ref('agent_runs') }}"
        ~ ' where ticket_key in (select ticket_key from ' ~ changes('jira_issues')
        ~ ' group by ticket_key, changed_by having count() = 1 or uniqExact(issue_type) > 1)',
        "select toYYYYMM(period_start) from {{ this }}"
        ~ " where pull_requests_opened is null and exists (select 1 from {{ ref('stg_github__loads') }})",
        "select toYYYYMM(period_start) from {{ this }}"
        ~ " where tickets_done is null and exists (select 1 from {{ ref('stg_jira__loads') }})",
        "select toYYYYMM(period_start) from {{ this }}"
        ~ " where agent_runs is null and exists (select 1 from {{ ref('stg_langfuse__loads') }})"
    ]
) }}

{#- The facts that are counted, and what each of them alone tells. -#}
{%- set measures = {
    'opened': [],
    'finished': [
        'is_merged', 'is_reviewed', 'is_first_pass', 'is_human_intervened', 'revision_cycles', 'is_durable'
    ],
    'done': ['is_delivered', 'is_autonomous'],
    'runs': ['is_failed', 'is_retry', 'cost_usd'],
} %}

with pull_requests as (

    select * from {{ ref('pull_request_flow') }}
    where author_kind in ('agent', 'human', 'bot')

),

tickets as (

    select * from {{ ref('tickets') }}
    where is_done and {{ in_dirty_periods('resolved_at') }}

),

agent_runs as (

    select * from {{ ref('agent_runs') }}
    where {{ in_dirty_periods('started_at') }}

),

issue_types as (

    select
        ticket_key,
        issue_type
    from {{ ref('jira_issues') }}
    where ticket_key in (select ticket_key from agent_runs)

),

loaded as (

    select
        (select count() from {{ ref('stg_github__loads') }}) > 0 as is_github_loaded,
        (select count() from {{ ref('stg_jira__loads') }}) > 0 as is_jira_loaded,
        (select count() from {{ ref('stg_langfuse__loads') }}) > 0 as is_langfuse_loaded

),

opened as (

    select
        'opened' as fact,
        author_kind as actor_kind,
        toNullable(created_at) as happened_at,
        team,
        project_key,
        issue_type
    from pull_requests
    where {{ in_dirty_periods('created_at') }}

),

finished as (

    -- Merged or given up; which of the two, and what came of it.
    select
        'finished' as fact,
        author_kind as actor_kind,
        if(is_merged, merged_at, closed_at) as happened_at,
        team,
        project_key,
        issue_type,
        is_merged,
        human_reviews > 0 as is_reviewed,
        is_first_pass,
        is_human_intervened,
        if(is_merged, toNullable(revision_cycles), null) as revision_cycles,
        is_merged and (reverted_at is null or reverted_at > merged_at + interval 7 day) as is_durable
    from pull_requests
    where {{ in_dirty_periods('if(is_merged, merged_at, closed_at)') }}

),

done as (

    -- Autonomy and cost are of all that was done, so that each ticket is in the row of agents, whoever delivered it.
    select
        'done' as fact,
        arrayJoin(
            arrayDistinct(['agent', if(delivered_by in ('human', 'bot'), assumeNotNull(delivered_by), 'agent')])
        ) as actor_kind,
        resolved_at as happened_at,
        team,
        project_key,
        issue_type,
        coalesce(delivered_by = actor_kind, false) as is_delivered,
        if(actor_kind = 'agent', is_autonomous, null) as is_autonomous
    from tickets

),

runs as (

    select
        'run' as fact,
        'agent' as actor_kind,
        toNullable(agent_runs.started_at) as happened_at,
        agent_runs.team as team,
        agent_runs.project_key as project_key,
        issue_types.issue_type as issue_type,
        agent_runs.is_failed as is_failed,
        agent_runs.is_retry as is_retry,
        agent_runs.cost_usd as cost_usd
    from agent_runs
    left join issue_types on agent_runs.ticket_key = issue_types.ticket_key

),

facts as (

    -- What a fact does not tell is null.
    {%- for fact, told in measures.items() %}
        select
            fact,
            actor_kind,
            happened_at,
            team,
            project_key,
            issue_type,
        {%- for measure in measures.values() | sum(start=[]) %}
            {{ measure if measure in told else 'null as ' ~ measure }}{{ ',' if not loop.last }}
        {%- endfor %}
        from {{ fact }}
        {%- if not loop.last %}
            union all
        {%- endif %}
    {%- endfor %}

),

counted as (

    -- Every fact counts under its ticket's type and under '', all types.
    select
        in_period.1 as period,
        in_period.2 as period_start,
        in_scope.1 as scope,
        in_scope.2 as scope_value,
        actor_kind,
        in_type,
        countIf(fact = 'opened') as opened,
        countIf(is_merged) as merged,
        countIf(not is_merged) as closed_unmerged,
        countIf(is_reviewed) as reviewed,
        countIf(is_first_pass) as first_passes,
        count(is_first_pass) as judged,
        countIf(is_human_intervened) as intervened,
        count(is_human_intervened) as watched,
        {{ stats('revision_cycles', 'revision_cycles') }},
        countIf(is_durable) as durable,
        countIf(is_delivered) as delivered,
        countIf(fact = 'done') as done,
        countIf(is_autonomous) as autonomous,
        count(is_autonomous) as autonomy_known,
        countIf(fact = 'run') as runs,
        countIf(is_failed) as failed,
        countIf(is_retry) as retried,
        coalesce(sum(cost_usd), toDecimal128(0, 12)) as cost
    from facts
    array join {{ period_rows('happened_at') }} as in_period
    array join {{ scope_rows(team='team', project='project_key') }} as in_scope
    array join arrayDistinct(['', coalesce(issue_type, '')]) as in_type
    where {{ in_dirty('toYYYYMM(in_period.2)') }}
    group by
        period,
        period_start,
        scope,
        scope_value,
        actor_kind,
        in_type

),

final as (

    -- What no loaded source could have told is null. Runs are of agents, whatever the account they ran under.
    select
        period,
        period_start,
        scope,
        scope_value,
        actor_kind,
        in_type as issue_type,
        if(is_github_loaded, opened, null) as pull_requests_opened,
        if(is_github_loaded, counted.merged, null) as merged,
        if(is_github_loaded, counted.closed_unmerged, null) as closed_unmerged,
        counted.merged / nullIf(counted.merged + counted.closed_unmerged, 0) as merge_rate,
        if(is_github_loaded, counted.reviewed, null) as reviewed,
        first_passes / nullIf(judged, 0) as first_pass_rate,
        intervened / nullIf(watched, 0) as human_intervention_rate,
        revision_cycles_mean,
        revision_cycles_p90,
        if(is_github_loaded, durable, null) as durable_merges,
        if(is_jira_loaded, delivered, null) as tickets_done,
        autonomous / nullIf(autonomy_known, 0) as autonomy_rate,
        if(is_langfuse_loaded, runs, null) as agent_runs,
        if(is_langfuse_loaded, failed, null) as failed_runs,
        if(is_langfuse_loaded, retried, null) as retries,
        if(is_langfuse_loaded and actor_kind = 'agent', cost, null) as cost_usd,
        toFloat64(cost_usd) / nullIf(counted.merged, 0) as cost_per_merged_pull_request,
        toFloat64(cost_usd) / nullIf(done, 0) as cost_per_done_ticket
    from counted
    cross join loaded

)

select * from final
