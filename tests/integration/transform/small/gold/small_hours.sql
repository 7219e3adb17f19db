{{
    config(
        partition_by='toYYYYMM(hour)',
        order_by='hour',
        dirty=['select toYYYYMM(sampled_at) from ' ~ changes('stg_prometheus__samples')],
    )
}}

with final as (

    select
        toStartOfHour(toDateTime(sampled_at)) as hour,
        count() as samples
    from {{ ref('stg_prometheus__samples') }}
    where {{ in_dirty('toYYYYMM(sampled_at)') }}
    group by hour

)

select * from final
