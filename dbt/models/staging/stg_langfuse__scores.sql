{{
    config(
        partition_by=month_of('scored_at'),
        order_by=['source_name', 'project_id', 'score_id'],
        unique_key=['source_name', 'project_id', 'score_id'],
        birth_month=month_of('timestamp'),
        dirty=["{{ partitions_of_affected() }}"],
        may_differ="{{ is_affected() }}",
    )
}}

with source as (

    {{ bronze('langfuse', 'scores') }}

),

renamed as (

    select
        source_name,
        project_id,
        id as score_id,
        updated_at,
        created_at,
        timestamp as scored_at,
        name as score_name,
        source as score_source,
        data_type,
        value,
        string_value,
        trace_id,
        observation_id,
        session_id,
        comment,
        config_id,
        author_user_id,
        metadata
    from source

),

final as (

    {{ with_unaffected('renamed') }}

)

select * from final
