{#-
    How a select is held against the contract of its model, in place of dbt-clickhouse's own way: that runs the select with
    `limit 0`, which reads the indexes of every table in it and fills the set of every `in`. To have it described takes less
    than half of that, and does not grow with the tables.
-#}
{% macro clickhouse__get_assert_columns_equivalent(sql) -%}
    {%- set promised = model.columns.values() | list -%}
    {%- set found = [] -%}
    {%- for row in run_query('describe table (\n' ~ sql ~ '\n)').rows -%}
        {%- do found.append({'name': row[0], 'data_type': row[1]}) -%}
    {%- endfor -%}
    {%- set types = {} -%}
    {%- for column in promised -%}
        {%- do types.update({column.name: column.data_type}) -%}
    {%- endfor -%}
    {%- for column in found if types.get(column.name) != column.data_type -%}
        {%- do exceptions.raise_contract_error(promised, found) -%}
    {%- endfor -%}
    {%- if not promised or found | length != promised | length -%}
        {%- do exceptions.raise_contract_error(promised, found) -%}
    {%- endif -%}
{%- endmacro %}
