{#- The contracts of the numbers, as the file of this model lists them. -#}
{% macro kpis() -%}
    {{ return(model.config.meta.kpis) }}
{%- endmacro %}
