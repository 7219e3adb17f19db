{{ config(materialized='view') }}

with source as (

    {{ bronze_loads('prometheus') }}

)

select * from source
