{#- One series to a fingerprint, for good: its words change a row, which says nothing new of its samples. -#}
{{
    config(
        partition_by='toYYYYMM(hour)',
        order_by='(query, metric, hour)',
        dirty=[
            "select toYYYYMM(sampled_at) from {{ changes('stg_prometheus__samples') }}",
            "select toYYYYMM(sampled_at) from {{ ref('stg_prometheus__samples') }}
            where (source_name, fingerprint) in (
                select source_name, fingerprint
                from {{ changes('stg_prometheus__series') }}
                group by source_name, fingerprint, changed_by
                having count() = 1 or uniqExact(query, metric) > 1
            )",
        ]
    )
}}

with samples as (

    select * from {{ ref('stg_prometheus__samples') }}
    where
        isFinite(value)
        and {{ in_dirty('toYYYYMM(sampled_at)') }}

),

series as (

    select
        source_name,
        fingerprint,
        query,
        metric
    from {{ ref('stg_prometheus__series') }}

),

final as (

    select
        cast(toStartOfHour(samples.sampled_at), 'DateTime(\'UTC\')') as hour,
        series.query as query,
        series.metric as metric,
        uniqExact(samples.source_name, samples.fingerprint) as series,
        count() as samples,
        -- the same bits in whatever order the samples come, or nearly always
        sumKahan(samples.value) / count() as average,
        min(samples.value) as minimum,
        max(samples.value) as maximum
    from samples
    inner join series
        on
            samples.source_name = series.source_name
            and samples.fingerprint = series.fingerprint
    group by
        hour,
        query,
        metric

)

select * from final
