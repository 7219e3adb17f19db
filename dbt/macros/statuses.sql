{#- What happens to a ticket in a status: queue (nobody began), active, waiting (for somebody), done. -#}
{% macro status_kind(status, status_category) -%}
    multiIf(
        {{ status_category }} = 'new', 'queue',
        {{ status_category }} = 'done', 'done',
        {{ matches(status, 'waiting_status_pattern') }}, 'waiting',
        'active'
    )
{%- endmacro %}
