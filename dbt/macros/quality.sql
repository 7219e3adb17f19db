{#- What data_quality needs beside its rules. -#}

{#-
    Keys of tickets that Jira has no more; and all keys when Jira just brought its first tickets, or lost its last: then
    another question is asked of every key. For `dirty`, of a model with ticket_key.
-#}
{% macro has_lost_ticket() -%}
    ticket_key != ''
    and (select count() from {{ changes('jira_issues') }}) > 0
    and (
        ticket_key in (
            select ticket_key from {{ changes('jira_issues') }}
            where ticket_key not in (select ticket_key from {{ ref('jira_issues') }})
        )
        or (select uniqExact(ticket_key) from {{ changes('jira_issues') }})
        >= (select count() from {{ ref('jira_issues') }})
    )
{%- endmacro %}
