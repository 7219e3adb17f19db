{#- What a pull request says of itself in words. -#}

{#- The messages of its commits, in their order, as one text. -#}
{% macro commit_messages(commits) -%}
    arrayStringConcat(
        arrayMap(commit -> JSONExtractString(commit, 'message'), JSONExtractArrayRaw({{ commits }})), '\n'
    )
{%- endmacro %}

{#- All ticket keys in a pull request of staging, of whatever project. -#}
{% macro raw_keys_of_pull_request() -%}
    {{ ticket_keys_in(
        "concat(head_ref, '\n', title, '\n', coalesce(body, ''), '\n', " ~ commit_messages('commits') ~ ")",
        "cast([], 'Array(String)')"
    ) }}
{%- endmacro %}

{#- The title of the pull request that this one takes back, as GitHub writes it; '' without one. -#}
{% macro reverted_title(title) -%}
    extract({{ title }}, 'Revert "(.*)"')
{%- endmacro %}

{#- Whether it takes back another one: by the pattern, or as GitHub writes it, after a ticket key. -#}
{% macro is_revert(title) -%}
    toBool(
        {{ matches(title, 'revert_pattern') }}
        or match({{ title }}, '(?:{{ ticket_key_pattern() }})(?s:.*)Revert "')
    )
{%- endmacro %}

{#- The number that `Reverts #7` or `Reverts owner/name#7` in a description names; null for none of this repository. -#}
{% macro reverted_number(body, names) -%}
    toInt64OrNull(
        arrayFirst(
            reference -> reference[1] = '' or has(arrayMap(name -> lower(name), {{ names }}), lower(reference[1])),
            extractAllGroupsVertical(coalesce({{ body }}, ''), '\\bReverts ([A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+)?#([0-9]+)')
        )[2]
    )
{%- endmacro %}
