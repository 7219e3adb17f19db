{{
    config(
        partition_by='toYYYYMM(created_at)',
        order_by='ticket_key',
        dirty=['select toYYYYMM(created_at) from ' ~ changes('stg_jira__issues')],
    )
}}

with final as (

    select
        source_name,
        ticket_key,
        status,
        created_at,
        updated_at
    from {{ ref('stg_jira__issues') }}
    where {{ in_dirty('toYYYYMM(created_at)') }}

)

select * from final
