{#-
    Marts by day, week and month, for everything and for one team, project or repository. A fact becomes its rows by
        array join {{ period_rows('merged_at') }} as in_period, {{ scope_rows(team='team') }} as in_scope
    and in_period.1, in_period.2, in_scope.1, in_scope.2 are period, period_start, scope, scope_value.
-#}

{#- The periods that a moment lies in: an array of (period, period_start); empty for null. Weeks begin on Monday. -#}
{% macro period_rows(moment) -%}
    if(
        isNull({{ moment }}),
        [],
        cast(
            [
                ('day', toDate(assumeNotNull({{ moment }}))),
                ('week', toDate(toMonday(assumeNotNull({{ moment }})))),
                ('month', toDate(toStartOfMonth(assumeNotNull({{ moment }}))))
            ],
            'Array(Tuple(String, Date))'
        )
    )
{%- endmacro %}

{#- The partitions (months) in which those rows lie: an array of UInt32. -#}
{% macro period_months(moment) -%}
    if(
        isNull({{ moment }}),
        [],
        arrayDistinct([
            toYYYYMM(assumeNotNull({{ moment }})), toYYYYMM(toMonday(assumeNotNull({{ moment }})))
        ])
    )
{%- endmacro %}

{#- Whether a moment counts in a partition that is built again. -#}
{% macro in_dirty_periods(moment) -%}
    {%- if is_partial() -%}
    (
        {{ in_dirty('toYYYYMM(' ~ moment ~ ')') }}
        or {{ in_dirty('toYYYYMM(toMonday(' ~ moment ~ '))') }}
    )
    {%- else -%}
    true
    {%- endif -%}
{%- endmacro %}

{#-
    The scopes that a fact counts in: an array of (scope, scope_value). Expressions of text; one that gives '' or null
    (no team) makes no row.
-#}
{% macro scope_rows(team=none, project=none, repository=none) -%}
    {%- set rows = ["('all', '')"] -%}
    {%- for scope, value in [('team', team), ('project', project), ('repository', repository)] if value is not none -%}
        {%- do rows.append("('" ~ scope ~ "', coalesce(" ~ value ~ ", ''))") -%}
    {%- endfor -%}
    arrayFilter(
        in_scope -> in_scope.1 = 'all' or in_scope.2 != '',
        cast([{{ rows | join(', ') }}], 'Array(Tuple(String, String))')
    )
{%- endmacro %}

{#-
    Four columns of a set of numbers: name_p50, name_p75, name_p90 (linear interpolation between closest ranks) and
    name_mean; null for an empty set, nulls are left out. `condition` chooses rows.
-#}
{% macro stats(expression, name, condition='true') -%}
    {%- set value = expression if condition == 'true' else 'if(' ~ condition ~ ', ' ~ expression ~ ', null)' -%}
    {%- for percent in [50, 75, 90] %}
    if(
        count({{ value }}) = 0, null, quantilesExactInclusive(0.5, 0.75, 0.9)({{ value }})[{{ loop.index }}]
    ) as {{ name }}_p{{ percent }},
    {%- endfor %}
    {{ mean(value) }} as {{ name }}_mean
{%- endmacro %}

{#- The mean of a set of numbers; null for an empty set. -#}
{% macro mean(expression) -%}
    {{ sum_of_millionths(expression) }} / 1e6 / nullIf(count({{ expression }}), 0)
{%- endmacro %}

{#- The sum of some numbers in whole millionths: the same in whatever order the rows come. -#}
{% macro sum_of_millionths(expression) -%}
    toFloat64(sum(toInt128(round({{ expression }} * 1e6))))
{%- endmacro %}
