{#- Regular expressions and words of the stack, as they stand in SQL. -#}

{#- A text as a SQL string. -#}
{% macro sql_string(text) -%}
    '{{ inside_quotes(text) }}'
{%- endmacro %}

{#- A text as it stands between the quotes of a SQL string. -#}
{% macro inside_quotes(text) -%}
    {{ text | string | replace("\\", "\\\\") | replace("'", "\\'") }}
{%- endmacro %}

{#- Whether a text matches the pattern that a variable holds; an empty pattern matches nothing, nor does null. -#}
{% macro matches(text, variable) -%}
    {%- if var(variable) -%}
    match(coalesce({{ text }}, ''), {{ sql_string(var(variable)) }})
    {%- else -%}
    false
    {%- endif -%}
{%- endmacro %}
