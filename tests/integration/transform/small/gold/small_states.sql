{{ config(order_by='status') }}

with final as (

    select
        status,
        count() as tickets
    from {{ ref('small_issues') }}
    group by status

)

select * from final
