{{ config(order_by=['source_name', 'entity', 'payload_hash']) }}

with source as (

    {{ bronze_rejected_rows('prometheus') }}

)

select * from source
