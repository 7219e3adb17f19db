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
        JSONExtract(labels, 'Map(String, String)') as labels
    from source

)

select * from renamed
