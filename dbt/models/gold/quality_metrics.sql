{{ config(order_by='(score_name, bin)') }}

with scores as (

    select * from {{ ref('quality_outcomes') }}

),

binned as (

    select
        score_name,
        multiIf(
            data_type = 'BOOLEAN', if(value > 0, '1', '0'),
            data_type in ('CATEGORICAL', 'TEXT', 'CORRECTION') or value is null, coalesce(string_value, ''),
            value < 0, 'below 0',
            value < 0.25, '[0,0.25)',
            value < 0.5, '[0.25,0.5)',
            value < 0.75, '[0.5,0.75)',
            value <= 1, '[0.75,1]',
            'above 1'
        ) as bin,
        is_merged,
        is_first_pass,
        first_ci_conclusion,
        is_reverted
    from scores

),

final as (

    select
        score_name,
        bin,
        count() as scores,
        count(is_merged) as with_pull_request,
        countIf(is_merged) / nullIf(count(is_merged), 0) as merged_rate,
        countIf(is_first_pass) / nullIf(count(is_first_pass), 0) as first_pass_rate,
        countIf(first_ci_conclusion = 'success') / nullIf(count(first_ci_conclusion), 0) as ci_pass_rate,
        countIf(is_merged and is_reverted) / nullIf(countIf(is_merged), 0) as reverted_rate
    from binned
    group by
        score_name,
        bin

)

select * from final
