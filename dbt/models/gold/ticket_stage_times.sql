{{ config(
    order_by='(ticket_key, status, status_kind)',
    partition_by='ticket_bucket',
    dirty=[changed_buckets('ticket_stages')]
) }}

with stages as (

    select * from {{ ref('ticket_stages') }}
    where {{ in_dirty('ticket_bucket') }}

),

final as (

    -- Whole microseconds: their sums are the same in any order.
    select
        ticket_key,
        ticket_bucket,
        status,
        status_kind,
        count() as visits,
        sum(dateDiff('microsecond', entered_at, coalesce(left_at, entered_at))) / 1e6 as seconds,
        toBool(countIf(left_at is null) > 0) as is_current
    from stages
    group by
        ticket_key,
        ticket_bucket,
        status,
        status_kind

)

select * from final
