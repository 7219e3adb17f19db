{#- The team (of the variable teams) that a repository belongs to, the first that names it; '' when none does. -#}
{% macro team_of_repository(repository) -%}
    {%- set cases = [] -%}
    {%- for team in var('teams') -%}
        {%- for pattern in team.repositories or [] -%}
            {%- do cases.append(
                repository ~ ' = ' ~ sql_string(pattern)
                ~ ' or match(' ~ repository ~ ', ' ~ sql_string('^(?:' ~ pattern ~ ')$') ~ '), ' ~ sql_string(team.name)
            ) -%}
        {%- endfor -%}
    {%- endfor -%}
    {{ 'multiIf(' ~ cases | join(', ') ~ ", '')" if cases else "''" }}
{%- endmacro %}

{#- The team that a Jira project belongs to, the first that names its key; '' when none does. -#}
{% macro team_of_project(project_key) -%}
    {%- set cases = [] -%}
    {%- for team in var('teams') -%}
        {%- for key in team.jira_projects or [] -%}
            {%- do cases.append(project_key ~ ' = ' ~ sql_string(key) ~ ', ' ~ sql_string(team.name)) -%}
        {%- endfor -%}
    {%- endfor -%}
    {{ 'multiIf(' ~ cases | join(', ') ~ ", '')" if cases else "''" }}
{%- endmacro %}
