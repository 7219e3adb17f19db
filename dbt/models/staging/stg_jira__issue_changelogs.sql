{{
    config(
        partition_by=month_of('changed_at'),
        order_by=['source_name', 'issue_id', 'history_id', 'item_index'],
        unique_key=['source_name', 'issue_id', 'history_id', 'item_index'],
        birth_month=month_of('created_at'),
        dirty=["{{ partitions_of_affected() }}"],
        may_differ="{{ is_affected() }}",
    )
}}

with source as (

    {{ bronze('jira', 'issue_changelogs') }}

),

renamed as (

    select
        source_name,
        issue_id,
        history_id,
        item_index,
        created_at as changed_at,
        issue_key as ticket_key,
        author_id,
        author_name,
        field,
        field_id,
        from_value,
        from_string,
        to_value,
        to_string,
        author_type
    from source

),

final as (

    {{ with_unaffected('renamed') }}

)

select * from final
