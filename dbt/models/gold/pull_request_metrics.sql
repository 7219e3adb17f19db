{{ config(
    partition_by='toYYYYMM(period_start)',
    order_by='(period, period_start, scope, scope_value, author_kind)',
    dirty=[
        "select arrayJoin(arrayConcat(" ~ period_months('created_at') ~ ", " ~ period_months('merged_at') ~ ", "
        ~ period_months('closed_at') ~ ")) from " ~ changes('pull_request_flow', 'gold_next'),
    ]
) }}

with pull_requests as (

    select * from {{ ref('pull_request_flow') }}

),

moments as (

    -- A pull request counts when it is opened, and again when it is merged or closed.
    select
        created_at as at,
        'opened' as fact,
        author_kind as kind,
        *
    from pull_requests
    where {{ in_dirty_periods('created_at') }}

    union all

    select
        assumeNotNull(merged_at) as at,
        'merged' as fact,
        author_kind as kind,
        *
    from pull_requests
    where is_merged and merged_at is not null and {{ in_dirty_periods('merged_at') }}

    union all

    select
        assumeNotNull(closed_at) as at,
        'closed_unmerged' as fact,
        author_kind as kind,
        *
    from pull_requests
    where not is_merged and closed_at is not null and {{ in_dirty_periods('closed_at') }}

),

final as (

    select
        in_period.1 as period,
        in_period.2 as period_start,
        in_scope.1 as scope,
        in_scope.2 as scope_value,
        in_kind as author_kind,
        countIf(fact = 'opened') as opened,
        countIf(fact = 'merged') as merged,
        countIf(fact = 'closed_unmerged') as closed_unmerged,
        merged / nullIf(merged + closed_unmerged, 0) as merge_rate,
        {%- for part in ['coding', 'pickup', 'review', 'merge', 'deploy', 'cycle'] %}
            {{ stats(part ~ '_seconds', part ~ '_seconds', "fact = 'merged'") }},
        {%- endfor %}
        {{ mean("if(fact = 'merged', revision_cycles, null)") }} as revision_cycles_mean,
        countIf(fact = 'merged' and is_first_pass)
        / nullIf(countIf(fact = 'merged' and is_first_pass is not null), 0) as first_pass_rate,
        countIf(fact = 'merged' and reverted_at <= merged_at + interval 7 day) / nullIf(merged, 0) as reverted_rate,
        if(
            merged = 0,
            null,
            quantileExactInclusiveIf(0.5) (toFloat64(additions + deletions), fact = 'merged')
        ) as lines_changed_p50
    from moments
    array join {{ period_rows('at') }} as in_period
    array join {{ scope_rows(team='team', project='project_key', repository='repository') }} as in_scope
    array join ['', kind] as in_kind
    where {{ in_dirty('toYYYYMM(in_period.2)') }}
    group by
        period,
        period_start,
        scope,
        scope_value,
        author_kind

)

select * from final
