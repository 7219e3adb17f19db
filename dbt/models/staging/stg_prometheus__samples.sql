with source as (

    {{ bronze('prometheus', 'samples') }}

),

renamed as (

    select
        source_name,
        fingerprint,
        sampled_at,
        loaded_at,
        value
    from source

)

select * from renamed
