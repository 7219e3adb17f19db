{#- A view: gold reads it once a build, and a copy of every sample would cost more than it saves. -#}
{{ config(materialized='view') }}

with samples as (

    select * from {{ ref('stg_prometheus__samples') }}

),

series as (

    select * from {{ ref('stg_prometheus__series') }}

),

final as (

    select
        samples.source_name as source_name,
        samples.fingerprint as fingerprint,
        series.query as query,
        series.metric as metric,
        series.labels as labels,
        samples.value as value,
        samples.sampled_at as sampled_at
    from samples
    inner join series
        on
            samples.source_name = series.source_name
            and samples.fingerprint = series.fingerprint

)

select * from final
