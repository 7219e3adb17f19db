{#- Who is an agent, a bot or a person. Local to a row: facts carry the kind of their actor, and need no table of actors. -#}

{#- An account as it is compared: GitHub's REST interface writes app[bot] where GraphQL writes app. -#}
{% macro plain_account(system, account) -%}
    {%- if system == 'github' -%}
    replaceRegexpOne(coalesce({{ account }}, ''), '\\[bot\\]$', '')
    {%- else -%}
    coalesce({{ account }}, '')
    {%- endif -%}
{%- endmacro %}

{#- The identity (of the variable identities) that has an account: its name or its kind; '' when none has, or says no kind. -#}
{% macro identity_of(system, account, what='name') -%}
    {%- set accounts, answers = [], [] -%}
    {%- for identity in var('identities') if identity[what] -%}
        {%- for one in identity[system] or [] -%}
            {%- do accounts.append(sql_string(one[:-5] if system == 'github' and one.endswith('[bot]') else one)) -%}
            {%- do answers.append(sql_string(identity[what])) -%}
        {%- endfor -%}
    {%- endfor -%}
    {%- if accounts -%}
    transform({{ plain_account(system, account) }}, [{{ accounts | join(', ') }}], [{{ answers | join(', ') }}], '')
    {%- else -%}
    ''
    {%- endif -%}
{%- endmacro %}

{#- Which rule tells what an account is: identities, agent_pattern, bot_pattern, account_type, default; '' for no account. -#}
{% macro actor_kind_rule(system, account, name="''", account_type="''") -%}
    {%- set plain = plain_account(system, account) -%}
    multiIf(
        coalesce({{ account }}, '') = '', '',
        {{ identity_of(system, account, 'kind') }} != '', 'identities',
        {{ matches(plain, 'agent_pattern') }} or {{ matches(account, 'agent_pattern') }}
        or {{ matches(name, 'agent_pattern') }}, 'agent_pattern',
        {{ matches(plain, 'bot_pattern') }} or {{ matches(account, 'bot_pattern') }}
        or {{ matches(name, 'bot_pattern') }}, 'bot_pattern',
        coalesce({{ account_type }}, '') in ('Bot', 'app'), 'account_type',
        'default'
    )
{%- endmacro %}

{#- human, agent or bot; unknown without an account. system: github, jira or langfuse; the rest are expressions. -#}
{% macro actor_kind(system, account, name="''", account_type="''") -%}
    {%- set kind = identity_of(system, account, 'kind') -%}
    if(
        coalesce({{ account }}, '') != '' and {{ kind }} != '', {{ kind }},
        transform(
            {{ actor_kind_rule(system, account, name, account_type) }},
            ['', 'agent_pattern', 'bot_pattern', 'account_type'],
            ['unknown', 'agent', 'bot', 'bot'],
            'human'
        )
    )
{%- endmacro %}
