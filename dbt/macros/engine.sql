{#-
    The engine of a table: replicated where the profile names a cluster or a database of engine Replicated. Without a path,
    so that the server's default keeps each table's own, also that of a copy which is exchanged with its original.
-#}
{% macro engine_clause() -%}
    {%- set engine = config.get('engine', default='MergeTree()') -%}
    {%- set is_replicated = target.get('cluster') or 'replicated' in (target.get('database_engine') or '') | lower -%}
    engine = {{ 'Replicated' if is_replicated and 'MergeTree' in engine and 'Replicated' not in engine }}{{ engine }}
{%- endmacro %}
