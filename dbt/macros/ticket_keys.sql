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
    {{ inside_quotes(var('ticket_key_pattern')) }}
{%- endmacro %}

{#- One row, project_keys: the projects that Jira knows or knew tickets of, or none when they do not matter. -#}
{% macro known_projects() -%}
    {#- The dependency is there either way: dbt parses without variables. -#}
    {%- set projects = ref('jira_projects') -%}
    {%- if var('known_projects_only') | string | lower == 'true' -%}
    select arraySort(groupUniqArray(project_key)) as project_keys from {{ projects }}
    {%- else -%}
    select cast([], 'Array(String)') as project_keys
    {%- endif -%}
{%- endmacro %}

{#-
    For `dirty`: whether text may be read otherwise than before, because projects became known or unknown. keys: an array of
    all the keys in the text, whatever their project. While no project is known every key counts, so the first (and the last) one
    concerns every key. Costs nothing when no project changed.
-#}
{% macro names_changed_project(keys) -%}
    (select count() from {{ changes('jira_projects') }}) > 0
    and arrayExists(
        key -> (select count() from silver.jira_projects where project_key not in (select project_key from {{ changes('jira_projects') }})) = 0
        or has(
            (select groupUniqArray(project_key) from {{ changes('jira_projects') }}),
            {{ project_of_key('key') }}
        ),
        {{ keys }}
    )
{%- endmacro %}

{#- For `dirty`: whether one of the ticket keys of a row is or was the former or the current key of a ticket that moved. -#}
{% macro names_moved_ticket(keys) -%}
    (select count() from {{ changes('moved_tickets') }}) > 0
    and hasAny(
        {{ keys }},
        (select groupUniqArrayArray([former_key, current_key]) from {{ changes('moved_tickets') }})
    )
{%- endmacro %}

{#- former_key, current_key: how a ticket was called before it moved to another project, and how it is called now. -#}
{% macro moved_tickets() -%}
    select * from {{ ref('moved_tickets') }}
{%- endmacro %}

{#- The keys of now of an array of ticket keys, each once. moved: a relation of former_key, current_key. -#}
{% macro current_keys(keys, moved) -%}
    arrayDistinct(
        arrayMap(
            key -> transform(
                key,
                (select arrayPushBack(groupArray(former_key), '') from {{ moved }}),
                (select arrayPushBack(groupArray(current_key), '') from {{ moved }}),
                key
            ),
            {{ keys }}
        )
    )
{%- endmacro %}

{#- The project that a ticket key names; '' stays ''. -#}
{% macro project_of_key(key) -%}
    replaceRegexpOne({{ key }}, '-[0-9]+$', '')
{%- endmacro %}
