{#-
    How a model is built again only where something changed. docs: dbt/README.md, "What is built again".

    materialized='partitioned'. A model with `partition_by` also says in `dirty` which of its partitions to build again: a
    list of selects of one column, usually over `changes('<upstream model>')`. Without `partition_by` the model is small:
    it is built whole, and only its differences count as changes.
-#}

{#- The rows of a model that changed since the last transform that succeeded, as they were and as they are now. -#}
{% macro changes(model_name, schema='silver') -%}
    {{ schema }}.{{ model_name }}__changes
{%- endmacro %}

{#- A condition that keeps what belongs to a partition that is built again; true when all of them are. -#}
{% macro in_dirty(expression) -%}
    {%- if is_partial() -%}
    {{ expression }} in (select partition from {{ this.schema }}.{{ this.identifier }}__dirty)
    {%- else -%}
    true
    {%- endif -%}
{%- endmacro %}

{#- Whether only some partitions of this model are built. -#}
{% macro is_partial() -%}
    {{ return(false) }}
{%- endmacro %}

{#- The partition of what belongs to a ticket: its project and the thousands of its number; '' for no ticket. -#}
{% macro ticket_bucket(ticket_key) -%}
    if(
        {{ ticket_key }} = '', '',
        concat(
            splitByChar('-', {{ ticket_key }})[1], '/',
            toString(intDiv(toUInt64OrZero(splitByChar('-', {{ ticket_key }})[-1]), 2000))
        )
    )
{%- endmacro %}

{% materialization partitioned, adapter='clickhouse' %}
    {{ return(materialization_table_clickhouse()) }}
{% endmaterialization %}
