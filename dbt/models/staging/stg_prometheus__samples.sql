{{
    config(
        partition_by=month_of('sampled_at'),
        order_by=['source_name', 'fingerprint', 'sampled_at'],
        unique_key=['source_name', 'fingerprint', 'sampled_at'],
        dirty=["{{ partitions_of_affected() }}"],
        may_differ="{{ is_affected() }}",
    )
}}

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

),

final as (

    {{ with_unaffected('renamed') }}

)

select * from final
