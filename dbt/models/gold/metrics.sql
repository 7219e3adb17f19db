{{ config(order_by='metric') }}

with loaded_types as (

    select groupUniqArray(type) as types
    from {{ ref('coverage') }}
    where available

),

catalogue as (

    {%- for kpi in model.config.meta.kpis %}
    select
        '{{ kpi.name }}' as metric,
        {%- for field in ('title', 'theme', 'model', 'definition', 'formula', 'unit', 'clock', 'exclusions', 'drill_down') %}
        {{ sql_string(kpi[field]) }} as {{ field }},
        {%- endfor %}
        {%- for field in ('statistic', 'reference', 'caveats') %}
        cast({{ sql_string(kpi[field]) if kpi[field] else 'null' }}, 'Nullable(String)') as {{ field }},
        {%- endfor %}
        cast({{ kpi.columns }}, 'Array(String)') as columns,
        cast({{ kpi.sources }}, 'Array(String)') as sources
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
