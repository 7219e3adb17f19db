{{ config(materialized='view') }}

with source as (

    {{ bronze_loads('jira') }}

)

select * from source
