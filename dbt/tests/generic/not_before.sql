{#- The time in the column never comes before that in another; null on either side passes. -#}
{% test not_before(model, column_name, other) %}

select
    {{ column_name }},
    {{ other }}
from {{ model }}
where {{ column_name }} < {{ other }}

{% endtest %}
