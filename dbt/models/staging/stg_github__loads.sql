{{ config(materialized='view') }}

with source as (

    {{ bronze_loads('github') }}

)

select * from source
