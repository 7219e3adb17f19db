{{ config(order_by='(query, metric, hour)') }}

with samples as (

    select * from {{ ref('metric_samples') }}
    where isFinite(value)

),

final as (

    select
        cast(toStartOfHour(sampled_at), 'DateTime(\'UTC\')') as hour,
        query,
        metric,
        uniqExact(source_name, fingerprint) as series,
        count() as samples,
        avg(value) as average,
        min(value) as minimum,
        max(value) as maximum
    from samples
    group by
        hour,
        query,
        metric

)

select * from final
