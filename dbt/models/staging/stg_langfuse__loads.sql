{{ config(materialized='view') }}

with source as (

    {{ bronze_loads('langfuse') }}

)

select * from source
