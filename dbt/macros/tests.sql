{#-
    What a generic test reads. In a build that made only some partitions of a model again, those: the others passed when
    they were made. `dbt test` on its own reads everything.
-#}
{% macro get_where_subquery(relation) -%}
    {%- set conditions = [] -%}
    {%- if config.get('where') -%}
        {%- do conditions.append(config.get('where')) -%}
    {%- endif -%}
    {%- set partition_by = partition_of_tested(relation) -%}
    {%- if partition_by is not none -%}
        {%- do conditions.append(partition_by ~ ' in (select partition from ' ~ beside(relation, 'dirty') ~ ')') -%}
    {%- endif -%}
    {%- if conditions -%}
        {{ return('(select * from ' ~ relation ~ ' where (' ~ conditions | join(') and (') ~ ')) as tested') }}
    {%- endif -%}
    {{ return(relation) }}
{%- endmacro %}

{#- The expression that a model is partitioned by, when this build made only some of its partitions again. -#}
{% macro partition_of_tested(relation) -%}
    {%- if not execute or flags.WHICH != 'build' or should_full_refresh() -%}
        {{ return(none) }}
    {%- endif -%}
    {%- set tested = graph.nodes.get(model.attached_node) -%}
    {%- if not tested or tested.alias != relation.identifier or tested.schema != relation.schema -%}
        {{ return(none) }}
    {%- endif -%}
    {%- if tested.config.materialized != 'partitioned' or load_cached_relation(beside(relation, 'dirty')) is none -%}
        {{ return(none) }}
    {%- endif -%}
    {{ return(tested.config.get('partition_by')) }}
{%- endmacro %}
