{#- Seconds from one time to another, to the microsecond; null when either is missing or they are in the wrong order. -#}
{% macro seconds_between(start, end) -%}
    if({{ end }} >= {{ start }}, dateDiff('microsecond', {{ start }}, {{ end }}) / 1e6, null)
{%- endmacro %}
