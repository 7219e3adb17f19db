{{
    config(
        order_by=['source_name', 'fingerprint'],
    )
}}

with source as (

    {{ bronze('prometheus', 'series') }}

),

renamed as (

    select
        source_name,
        fingerprint,
        last_seen_at,
        query,
        metric,
        JSONExtract(labels, 'Map(String, String)') as labels,
        metric_type,
        unit,
        help
    from source

),

final as (

    select * from renamed

)

select * from final
