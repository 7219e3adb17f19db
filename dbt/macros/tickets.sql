{#- Models by ticket: which of them changed, and what of the rest belongs to them. -#}

{#- The buckets of the tickets whose rows in a model changed; for `dirty`. -#}
{% macro changed_buckets(model_name, schema='silver') -%}
    select ticket_bucket from {{ changes(model_name, schema) }} where ticket_key != ''
{%- endmacro %}

{#- The buckets of the tickets whose pull requests are named in a select of repository_id, pull_request_number; for `dirty`. -#}
{% macro buckets_of_pull_requests(numbers) -%}
    select ticket_bucket from {{ '{{ ref(\'pull_requests\') }}' }}
    where ticket_key != '' and (repository_id, pull_request_number) in ({{ numbers }})
{%- endmacro %}

{#- Keeps what belongs to the rows of the CTE pull_requests, where that holds only some of them. -#}
{% macro of_those_pull_requests() -%}
    {%- if is_partial() -%}
    (repository_id, pull_request_number) in (select repository_id, pull_request_number from pull_requests)
    {%- else -%}
    true
    {%- endif -%}
{%- endmacro %}

{#- The ratio of two sums of seconds; null when the second is 0. -#}
{% macro ratio_of_seconds(part, whole) -%}
    {{ sum_of_millionths(part) }} / nullIf({{ sum_of_millionths(whole) }}, 0)
{%- endmacro %}
