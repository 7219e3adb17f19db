{{ config(order_by='metric') }}

{%- set said = ['title', 'theme', 'model', 'definition', 'formula', 'unit', 'clock', 'exclusions', 'drill_down'] -%}
{%- set may_be_said = ['statistic', 'reference', 'caveats'] %}

with loaded_types as (

    select groupUniqArray(type) as types
    from {{ ref('coverage') }}
    where available

),

catalogue as (

    {%- for kpi in kpis() %}
        select
            '{{ kpi.name }}' as metric,
            {%- for field in said %}
                {{ sql_string(kpi[field]) }} as {{ field }},
            {%- endfor %}
            {%- for field in may_be_said %}
                cast({{ sql_string(kpi[field]) if kpi[field] else 'null' }}, 'Nullable(String)') as {{ field }},
            {%- endfor %}
            cast({{ kpi.columns | list }}, 'Array(String)') as columns,
            cast({{ kpi.sources | list }}, 'Array(String)') as sources
        {%- if not loop.last %}
            union all
        {%- endif %}
    {%- endfor %}

),

final as (

    select
        metric,
        title,
        theme,
        model,
        columns,
        definition,
        formula,
        unit,
        clock,
        statistic,
        exclusions,
        sources,
        arrayFilter(source -> not has(types, source), sources) as missing_sources,
        toBool(empty(missing_sources)) as is_available,
        drill_down,
        reference,
        caveats
    from catalogue
    cross join loaded_types

)

select * from final
