{#-
    Written last, when all of gold was built with these settings; forge-transform builds everything again when the row
    is missing or names other settings.
-#}
-- depends_on: {{ ref('tickets') }}, {{ ref('ticket_costs') }}, {{ ref('platform_hourly') }}, {{ ref('coverage') }}

with final as (

    select
        '{{ var("settings_fingerprint", "") }}' as settings_fingerprint,
        now64(6, 'UTC') as built_at

)

select * from final
