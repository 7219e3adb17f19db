{#-
    How a ticket is recognised. The pattern is the variable ticket_key_pattern; keys are upper case, so that a pattern
    that ignores case finds the same ticket. An empty string means that no ticket was found.
-#}

{#- The ticket key that a text is, the whole of it: for places where a key alone is written. -#}
{% macro whole_ticket_key(text) -%}
    if(match(trimBoth({{ text }}), '^(?:{{ ticket_key_pattern() }})$'), upper(trimBoth({{ text }})), '')
{%- endmacro %}

{#-
    The ticket keys in a free text, in their order, as an array. projects: an array of the projects that count, or an
    empty array when nothing is known of projects and every key counts.
-#}
{% macro ticket_keys_in(text, projects) -%}
    arrayFilter(
        key -> empty({{ projects }}) or arrayExists(project -> startsWith(key, concat(project, '-')), {{ projects }}),
        arrayMap(key -> upper(key), extractAll({{ text }}, '({{ ticket_key_pattern() }})'))
    )
{%- endmacro %}

{#- The pattern, as it stands between the quotes of a SQL string. -#}
{% macro ticket_key_pattern() -%}
    {{ var('ticket_key_pattern') | replace('\\', '\\\\') | replace("'", "\\'") }}
{%- endmacro %}

{#- One row, project_keys: the projects that Jira knows or knew tickets of, or none when they do not matter. -#}
{% macro known_projects() -%}
    {#- The dependency is there either way: dbt parses without variables. -#}
    {%- set issues = ref('jira_issues') -%}
    {%- if var('known_projects_only') | string | lower == 'true' -%}
    select
        arrayConcat(
            groupUniqArray(project_key),
            arrayMap(key -> replaceRegexpOne(key, '-[0-9]+$', ''), arrayFlatten(groupUniqArray(former_keys)))
        ) as project_keys
    from {{ issues }}
    {%- else -%}
    select cast([], 'Array(String)') as project_keys
    {%- endif -%}
{%- endmacro %}

{#- former_key, current_key: how a ticket was called before it moved to another project, and how it is called now. -#}
{% macro moved_tickets() -%}
    select
        arrayJoin(former_keys) as former_key,
        argMax(ticket_key, updated_at) as current_key
    from {{ ref('jira_issues') }}
    group by former_key
{%- endmacro %}
