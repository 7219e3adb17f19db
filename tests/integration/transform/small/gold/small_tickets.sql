{{
    config(
        partition_by='toYYYYMM(created_at)',
        order_by='ticket_key',
        dirty=['select toYYYYMM(created_at) from ' ~ changes('small_issues')],
    )
}}

with final as (

    select
        ticket_key,
        status,
        created_at
    from {{ ref('small_issues') }}
    where {{ in_dirty('toYYYYMM(created_at)') }}

)

select * from final
