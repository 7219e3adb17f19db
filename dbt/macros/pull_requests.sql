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

{#- Months of pull requests that changed, or whose lists did; for `dirty` of models with a row for each of a list. -#}
{% macro changed_lists() -%}
    {{ return([
        'select toYYYYMM(created_at) from ' ~ changes('pull_requests'),
        'select toYYYYMM(created_at) from ' ~ changes('stg_github__pull_requests'),
    ]) }}
{%- endmacro %}

{#-
    A row for each element of a list (reviews, commits, events) that a pull request holds as JSON: the pull request it
    belongs to, `position` from 1, and `element`, a tuple of the fields that `fields` declares.
-#}
{% macro elements_of_pull_requests(list, fields) -%}
    select
        pull_requests.source_name as source_name,
        pull_requests.repository_id as repository_id,
        pull_requests.repository as repository,
        pull_requests.pull_request_number as pull_request_number,
        pull_requests.created_at as pull_request_created_at,
        pull_requests.author_login as pull_request_author_login,
        pull_requests.author_type as pull_request_author_type,
        pull_requests.ticket_key as ticket_key,
        pull_requests.ticket_bucket as ticket_bucket,
        elements.position as position,
        elements.element as element
    from (
        select
            source_name,
            repository_id,
            pull_request_number,
            position,
            element
        from {{ ref('stg_github__pull_requests') }}
        array join
            JSONExtract({{ list }}, {{ sql_string('Array(Tuple(' ~ fields | join(', ') ~ '))') }}) as element,
            arrayEnumerate(JSONExtractArrayRaw({{ list }})) as position
        where {{ in_dirty('toYYYYMM(created_at)') }}
    ) as elements
    inner join (
        select * from {{ ref('pull_requests') }}
        where {{ in_dirty('toYYYYMM(created_at)') }}
    ) as pull_requests
        on
            elements.source_name = pull_requests.source_name
            and elements.repository_id = pull_requests.repository_id
            and elements.pull_request_number = pull_requests.pull_request_number
{%- endmacro %}
