{{ config(order_by='(system, account)') }}

with sightings as (

    select * from {{ ref('account_sightings') }}

),

accounts as (

    select
        system,
        account,
        argMax(display_name, (month, display_name)) as display_name,
        argMax(account_type, (month, account_type)) as account_type,
        groupUniqArray(email) as emails
    from sightings
    where account != ''
    group by
        system,
        account

),

logins as (

    select
        lower(accounts.account) as login,
        min(accounts.account) as account
    from accounts
    where accounts.system = 'github'
    group by login

),

named_emails as (

    -- Commits and their co-authors tell which address goes with a name.
    select
        assumeNotNull(display_name) as name,
        groupUniqArray(email) as emails
    from sightings
    where display_name is not null and email is not null
    group by name

),

words as (

    -- What may be a login: the local part of an address (GitHub's own are number+login), the name as a slug, the
    -- account.
    select
        accounts.system as system,
        accounts.account as account,
        arrayJoin(
            arrayConcat(
                arrayMap(
                    email -> (
                        'email',
                        lower(replaceRegexpAll(email, '^[0-9]+\\+|(\\[bot\\])?@.*$', ''))
                    ),
                    arrayConcat(accounts.emails, named_emails.emails)
                ),
                [
                    (
                        'name',
                        trimBoth(replaceRegexpAll(
                            lower(replaceRegexpAll(
                                normalizeUTF8NFKD(coalesce(accounts.display_name, '')), '\\p{Mn}', ''
                            )),
                            '[^a-z0-9]+', '-'
                        ), '-')
                    ),
                    ('name', if(accounts.system = 'langfuse', lower(accounts.account), ''))
                ]
            )
        ) as word
    from accounts
    left join named_emails on accounts.display_name = named_emails.name
    where accounts.system != 'github'

),

matches as (

    select
        words.system as system,
        words.account as account,
        argMin(logins.account, (words.word.1, logins.account)) as login,
        min(words.word.1) as matched_by
    from words
    inner join logins on words.word.2 = logins.login
    group by
        words.system,
        words.account

),

known as (

    -- `email` comes before `name` in the alphabet, as it does here.
    select
        accounts.system as system,
        accounts.account as account,
        accounts.display_name as display_name,
        accounts.account_type as account_type,
        if(accounts.system = 'github', accounts.account, coalesce(matches.login, '')) as login,
        coalesce(matches.matched_by, 'none') as matched_by,
        multiIf(
            accounts.system = 'github', {{ identity_of('github', 'accounts.account') }},
            accounts.system = 'jira', {{ identity_of('jira', 'accounts.account') }},
            {{ identity_of('langfuse', 'accounts.account') }}
        ) as own_identity
    from accounts
    left join matches
        on
            accounts.system = matches.system
            and accounts.account = matches.account

),

final as (

    select
        system,
        account,
        display_name,
        multiIf(
            own_identity != '', own_identity,
            {{ identity_of('github', 'login') }} != '', {{ identity_of('github', 'login') }},
            login != '', login,
            concat(system, ':', account)
        ) as identity,
        multiIf(
            system = 'github', {{ actor_kind('github', 'account', 'display_name', 'account_type') }},
            system = 'jira', {{ actor_kind('jira', 'account', 'display_name', 'account_type') }},
            {{ actor_kind('langfuse', 'account', 'display_name', 'account_type') }}
        ) as actor_kind,
        multiIf(
            system = 'github', {{ actor_kind_rule('github', 'account', 'display_name', 'account_type') }},
            system = 'jira', {{ actor_kind_rule('jira', 'account', 'display_name', 'account_type') }},
            {{ actor_kind_rule('langfuse', 'account', 'display_name', 'account_type') }}
        ) as kind_rule,
        if(own_identity != '', 'identities', matched_by) as matched_by
    from known

)

select * from final
