"""The ObservabilityStack resource (observability.forge.dev/v1alpha1): the one contract of operator, CLI and local run.

The CRD in crds/ is made from these classes (`forge-crd`), descriptions and defaults included.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    model_validator,
)
from pydantic.alias_generators import to_camel

from forge_stack.duration import seconds
from forge_stack.pods import Image, PodTemplate, Quantity, Resources, Text
from forge_stack.schedule import CRON_CEL_PATTERN, is_cron
from forge_stack.schema import Matches, Part, Rule
from forge_stack.wire import TransformRequest, TransformSource, TransformSummary

GROUP = "observability.forge.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "ObservabilityStack"
PLURAL = "observabilitystacks"
NAME_LENGTH = 26
"""A stack's longest name: a CronJob's name (`<stack>-load-<source>`, a source has up to 20) must fit into 52
characters, because its controller appends `-<minutes>` for the Job, whose name must fit into a label (63)."""

SourceType = Literal["langfuse", "github", "jira", "prometheus"]
SOURCE_TYPES: tuple[SourceType, ...] = ("langfuse", "github", "jira", "prometheus")

Duration = Annotated[
    str,
    Field(max_length=16),
    # The digits are bounded so that a moment that far from now is still one that Python can hold.
    Matches(
        r"^([0-9]{1,8}[sm]|[0-9]{1,5}[hd])+$",
        "not a duration; write numbers with s, m, h or d, e.g. 90s, 10m, 1h30m or 7d (at most 99999d)",
    ),
]
SecretName = Annotated[
    Text,
    # It becomes a part of a URL path: nothing but a name may pass.
    Matches(
        r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$",
        "not the name of a Secret; write lower-case letters, digits, - and ., e.g. github-credentials",
    ),
]
Url = Annotated[
    str,
    Field(max_length=512),
    Matches(
        r"^https?://[^\s/?#@]+(/[^\s?#]*)?$",
        "not a URL; write http:// or https://, the host, and a path if needed, without credentials or query",
    ),
]
Repository = Annotated[
    str,
    Field(max_length=140),
    Matches(r"^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$", "not a repository; write owner/name"),
]
ProjectKey = Annotated[
    str,
    Field(max_length=64),
    Matches(r"^[A-Z][A-Z0-9_]+$", "not a project key; write it in capitals, e.g. FORGE"),
]
_name = Matches(
    r"^[a-z]([-a-z0-9]*[a-z0-9])?$", "not a name; write lower-case letters, digits and -, beginning with a letter"
)


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(
            f"timeZone {name!r} is unknown; use a name of the IANA database, e.g. Europe/Berlin"
        ) from error
    return name


TimeZone = Annotated[Text, AfterValidator(_known_zone)]


class SecretRef(Part):
    """A Secret in the stack's namespace."""

    name: SecretName = Field(description="Name of the Secret.")


class SecretKeyRef(SecretRef):
    """A key of a Secret in the stack's namespace."""

    key: Text = Field(default="dsn", description="Key of the Secret whose value is used.")


class Storage(Part):
    """The volume of each store replica."""

    size: Quantity = Field(default="10Gi", description="Size of the volume claim.")
    storage_class_name: Text | None = Field(
        default=None, description="StorageClass; the cluster's default when absent."
    )


def _resources(cpu: str, memory: str, limit: str, description: str) -> Any:
    default = Resources(requests={"cpu": cpu, "memory": memory}, limits={"memory": limit})
    return Field(default=default, json_schema_extra={"default": default.model_dump()}, description=description)


def _image(default: str) -> Any:
    return Field(default=None, description=f"{default}; the operator's default when absent.")


_POD_TEMPLATE: Any = Field(default=None, description="What is laid over these pods, and over the stack's podTemplate.")


class ManagedStore(Part):
    """A ClickHouse that the operator runs as a StatefulSet."""

    replicas: int = Field(
        default=1,
        ge=1,
        le=1,
        description="Number of replicas. One in this version: a replicated store is an external one.",
    )
    storage: Storage = Field(default=Storage(), json_schema_extra={"default": {}}, description="The data volume.")
    # A stack keeps the default of the release under which it was written: a new one here replaces no pod.
    resources: Resources = _resources("250m", "1Gi", "4Gi", "Compute resources of the server.")
    image: Image | None = _image(
        "Image of the server: ClickHouse's official one (clickhouse/clickhouse-server) or the embedded store's"
    )
    pod_template: PodTemplate | None = _POD_TEMPLATE


class ExternalStore(Part):
    """A ClickHouse that somebody else runs."""

    dsn_secret_ref: SecretKeyRef = Field(
        description="Secret key with http(s)://user:password@host:port of a user that may create databases and tables. "
        "The optional key `reader-dsn` of the same Secret is what the API uses."
    )


class Store(Part):
    """Where bronze, silver and gold live: exactly one of managed and external."""

    managed: ManagedStore | None = Field(default=None, description="A ClickHouse run by the operator.")
    external: ExternalStore | None = Field(default=None, description="A ClickHouse run by somebody else.")

    rules = (
        Rule(
            cel="has(self.managed) != has(self.external)",
            message="store: set exactly one of managed and external; remove the other",
            check=lambda s: (s.managed is None) != (s.external is None),
        ),
    )


class Connection(Part):
    """What all source types share.

    Any source's Secret may also hold `ca.crt` (PEM of a private certificate authority), `tls.crt` and `tls.key` (a
    client certificate) and `proxy` (URL of an HTTP proxy).
    """

    since: AwareDatetime | None = Field(
        default=None, description="The first load reaches back to this moment; everything the source has when absent."
    )
    sweep: Duration = Field(
        default="7d",
        description="How often all ids are compared with bronze, to find what was deleted or moved; 0s is never.",
    )


MetadataKey = Annotated[str, Field(min_length=1, max_length=64)]


class MetadataKeys(Part):
    """Keys of trace metadata, the first that is there wins. They are asked for in full, however long their values."""

    ticket: list[MetadataKey] = Field(default=["ticket"], max_length=8, description="The ticket's key.")
    stage: list[MetadataKey] = Field(default=["stage"], max_length=8, description="The stage of the work.")
    repository: list[MetadataKey] = Field(default=["repo"], max_length=8, description="The repository, as owner/name.")
    event: list[MetadataKey] = Field(default=["event"], max_length=8, description="What started the work.")


class LangfuseSource(Connection):
    """Traces and observations of a Langfuse project, Cloud or self-hosted."""

    url: Url = Field(default="https://cloud.langfuse.com", description="Base URL of the server.")
    credentials_secret_ref: SecretRef = Field(description="Secret with the keys `publicKey` and `secretKey`.")
    metadata_keys: MetadataKeys = Field(
        default=MetadataKeys(),
        json_schema_extra={"default": {}},
        description="Which keys of a trace's metadata hold what Forge says of it.",
    )
    environments: list[Text] = Field(
        default_factory=list, max_length=32, description="Only these Langfuse environments; all when empty."
    )
    overlap: Duration = Field(
        default="24h", description="How far back each load reads again, for rows updated after first sight."
    )
    lag: Duration = Field(default="15m", description="How far behind now a load ends: Langfuse ingests with a delay.")


class GitHubSource(Connection):
    """Pull requests of GitHub repositories, github.com or Enterprise."""

    url: Url = Field(
        default="https://api.github.com",
        description="Base URL of the REST API; https://HOST/api/v3 on Enterprise Server.",
    )
    credentials_secret_ref: SecretRef = Field(
        description="Secret with the key `token`, or with those of a GitHub App: `appId`, `installationId` and "
        "`privateKey` (PEM)."
    )
    topics: list[Text] = Field(
        default_factory=list,
        max_length=16,
        description="Of the organisations, only repositories with one of these topics; all when empty.",
    )
    jobs: bool = Field(
        default=True, description="Whether jobs of workflow runs are loaded: by GitHub's rule that is a request a run."
    )
    organizations: list[Text] = Field(
        default_factory=list, max_length=64, description="All repositories of these organisations."
    )
    repositories: list[Repository] = Field(
        default_factory=list, max_length=512, description="These repositories, as owner/name."
    )
    overlap: Duration = Field(default="10m", description="How far back each load reads again.")

    rules = (
        Rule(
            cel="has(self.organizations) && size(self.organizations) > 0"
            " || has(self.repositories) && size(self.repositories) > 0",
            message="github: nothing is selected; name organizations or repositories",
            check=lambda s: bool(s.organizations or s.repositories),
        ),
    )


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"{text!r} is no regular expression ({error}); correct it") from error
    return text


Pattern = Annotated[str, Field(max_length=256), AfterValidator(_pattern)]


class CommentEvents(Part):
    """Patterns (Python, searched in a comment's text) that make a comment an event; the first that matches wins."""

    approval: Pattern = Field(
        default=r"(?i)^\s*(/approve\b|approved\b|lgtm\b)", description="The work or the plan is approved."
    )
    rejection: Pattern = Field(
        default=r"(?i)^\s*(/reject\b|rejected\b|changes requested\b)", description="It is sent back."
    )
    question: Pattern = Field(default=r"\?\s*$", description="Somebody must answer.")


class JiraSource(Connection):
    """Issues and their changelog of Jira projects, Cloud or Data Center."""

    url: Url = Field(description="Base URL of the site, e.g. https://example.atlassian.net.")
    credentials_secret_ref: SecretRef = Field(
        description="Secret with the keys `email` and `token` (Cloud) or `token` alone (Data Center)."
    )
    deployment: Literal["Auto", "Cloud", "DataCenter"] = Field(
        default="Auto", description="Which API the site speaks; Auto asks the site."
    )
    projects: list[ProjectKey] = Field(min_length=1, max_length=256, description="Keys of the projects to load.")
    custom_fields: list[Text] = Field(
        default_factory=list, max_length=64, description="Ids of custom fields to keep, e.g. customfield_10016."
    )
    story_points: Text | None = Field(
        default=None,
        description="Id of the custom field that holds story points; found by the site's list of fields when absent.",
    )
    comment_events: CommentEvents = Field(
        default=CommentEvents(),
        json_schema_extra={"default": {}},
        description="Which comments are approvals, rejections and questions.",
    )
    overlap: Duration = Field(default="1h", description="How far back each load reads again.")


class PrometheusQuery(Part):
    """One PromQL expression whose series are loaded."""

    name: Annotated[str, Field(max_length=63), _name] = Field(
        description="Name of the query, part of each series' identity."
    )
    expr: Annotated[str, Field(min_length=1, max_length=4096)] = Field(
        description="PromQL that gives an instant vector, evaluated at each step."
    )


class PrometheusSource(Connection):
    """Series of a Prometheus, or of what speaks its query API."""

    url: Url = Field(description="Base URL of the server, without /api/v1.")
    credentials_secret_ref: SecretRef | None = Field(
        default=None, description="Secret with `token` (bearer), or with `username` and `password` (basic)."
    )
    tenant: Text | None = Field(
        default=None, description="Tenant of a shared server, sent as X-Scope-OrgID (Mimir, Thanos)."
    )
    queries: list[PrometheusQuery] = Field(
        default=[PrometheusQuery(name="forge", expr='{__name__=~"forge_.+"}')],
        json_schema_extra={
            "default": [{"name": "forge", "expr": '{__name__=~"forge_.+"}'}],
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
        },
        min_length=1,
        max_length=64,
        description="What to load.",
    )
    step: Duration = Field(default="60s", description="Distance of two samples of one series.")
    overlap: Duration = Field(default="15m", description="How far back each load reads again.")
    lag: Duration = Field(default="1m", description="How far behind now a load ends.")
    backfill: Duration = Field(default="7d", description="How far back the first load reaches when `since` is absent.")

    rules = (
        Rule(
            cel="!has(self.step) || self.step.matches('[1-9]')",
            message="prometheus: step is zero; write the distance of two samples, e.g. 60s",
            check=lambda s: seconds(s.step) > 0,
        ),
    )


class Source(Part):
    """One source: a name and exactly one of langfuse, github, jira, prometheus."""

    name: Annotated[str, Field(max_length=20), _name] = Field(
        description="Unique name; it prefixes the source's bronze tables."
    )
    langfuse: LangfuseSource | None = Field(default=None, description="Langfuse: LLM traces.")
    github: GitHubSource | None = Field(default=None, description="GitHub: pull requests.")
    jira: JiraSource | None = Field(default=None, description="Jira: issues.")
    prometheus: PrometheusSource | None = Field(default=None, description="Prometheus: series.")
    schedule: Annotated[str, Field(max_length=128)] = Field(
        default="*/15 * * * *", description="When to load: five cron fields."
    )
    time_zone: TimeZone = Field(default="Etc/UTC", description="Time zone of the schedule (IANA name).")
    suspend: bool = Field(default=False, description="No new loads while true; what was loaded stays.")
    resources: Resources = _resources("100m", "256Mi", "1Gi", "Compute resources of a load.")

    rules = (
        Rule(
            cel="[has(self.langfuse), has(self.github), has(self.jira), has(self.prometheus)].filter(x, x).size() == 1",
            message="source: set exactly one of langfuse, github, jira and prometheus; "
            "give each further one its own entry",
            check=lambda s: sum(getattr(s, t) is not None for t in SOURCE_TYPES) == 1,
        ),
        Rule(
            cel=f"self.schedule.matches('{CRON_CEL_PATTERN}')",
            message="schedule: not a cron expression; write five fields, e.g. '*/15 * * * *' for each quarter hour",
            check=lambda s: is_cron(s.schedule),
        ),
    )

    @property
    def type(self) -> SourceType:
        """Which of the four it is."""
        return next(t for t in SOURCE_TYPES if getattr(self, t) is not None)

    @property
    def connection(self) -> LangfuseSource | GitHubSource | JiraSource | PrometheusSource:
        """The part that is set."""
        found = self.langfuse or self.github or self.jira or self.prometheus
        assert found is not None, "the rules leave exactly one"  # noqa: S101
        return found

    @property
    def secret_name(self) -> str | None:
        """The Secret that holds its credentials."""
        ref = self.connection.credentials_secret_ref
        return ref.name if ref else None


class Loads(Part):
    """What all loads share."""

    image: Image | None = _image("Image of the load command")
    pod_template: PodTemplate | None = _POD_TEMPLATE


RePattern = Annotated[str, Field(max_length=256)]
"""A pattern that the store matches (RE2, searched in the text)."""
Account = Annotated[str, Field(min_length=1, max_length=128)]
NameInList = Annotated[str, Field(min_length=1, max_length=64)]


class Team(Part):
    """A team: what is of these repositories and Jira projects is its own. The first team that matches has it."""

    name: NameInList = Field(description="Unique name, as it stands in gold.")
    repositories: list[Annotated[str, Field(min_length=1, max_length=140)]] = Field(
        default_factory=list,
        max_length=64,
        description="Repositories: owner/name, or an RE2 pattern that matches the whole of it, e.g. acme/shop-.*",
    )
    jira_projects: list[ProjectKey] = Field(default_factory=list, max_length=64, description="Keys of Jira projects.")


class Identity(Part):
    """One person, agent or bot: which accounts are the same one."""

    name: NameInList = Field(description="Unique name, as it stands in gold.")
    github: list[Account] = Field(default_factory=list, max_length=8, description="GitHub logins.")
    jira: list[Account] = Field(default_factory=list, max_length=8, description="Jira account ids.")
    langfuse: list[Account] = Field(default_factory=list, max_length=8, description="Langfuse user ids.")
    kind: Literal["human", "agent", "bot"] | None = Field(
        default=None, description="What it is; told by the patterns when absent."
    )


_BY_NAME: dict[str, Any] = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
VARIABLES_BYTES = 96 * 1024
"""The variables travel in one environment variable, and Linux bounds each at 128 KiB (execve(2), MAX_ARG_STRLEN)."""


class Variables(Part):
    """What the organisation calls things; handed to dbt (`as_vars`). A change builds everything again."""

    ticket_key_pattern: RePattern = Field(
        default="[A-Z][A-Z0-9]+-[0-9]+", description="RE2 pattern of a ticket key in titles, branches and trace names."
    )
    known_projects_only: bool = Field(
        default=True,
        description="Whether a key in free text (titles, branches, trace names) counts only if Jira knows its project.",
    )
    deployment_environment_pattern: RePattern = Field(
        default="(?i)^prod", description="RE2 pattern of the environments that count as production."
    )
    deployment_workflow_pattern: RePattern = Field(
        default="",
        description="RE2 pattern of the workflows whose successful runs on the default branch are production "
        "deployments, in repositories without GitHub deployments; none when empty.",
    )
    incident_type_pattern: RePattern = Field(
        default="(?i)incident|outage", description="RE2 pattern of the Jira issue types that are incidents."
    )
    revert_pattern: RePattern = Field(
        default=r"(?i)^revert\b", description="RE2 pattern of the titles of pull requests that take another one back."
    )
    plan_approval_status_pattern: RePattern = Field(
        default="(?i)plan.*(review|approval)|awaiting plan",
        description="RE2 pattern of the Jira statuses in which a plan waits for a person.",
    )
    plan_approval_score: Annotated[str, Field(max_length=128)] = Field(
        default="plan_approval", description="Name of the Langfuse score that approves (above 0.5) or rejects a plan."
    )
    waiting_status_pattern: RePattern = Field(
        default="(?i)review|approval|blocked|waiting|on hold",
        description="RE2 pattern of the Jira statuses in which nobody works.",
    )
    agent_pattern: RePattern = Field(
        default="(?i)^forge([- ]|$)", description="RE2 pattern of the logins and names of agents."
    )
    bot_pattern: RePattern = Field(
        default=r"(?i)\[bot\]$|^(dependabot|renovate|github-actions|codecov|snyk-bot|mergify)(\[bot\])?$",
        description="RE2 pattern of the logins and names of bots that are no agents.",
    )
    cost_outlier_factor: float = Field(
        default=1000.0,
        ge=1,
        description="A call that costs more than so many times the median of its model is flagged as an outlier.",
    )
    teams: list[Team] = Field(
        default_factory=list,
        max_length=64,
        json_schema_extra=_BY_NAME,
        description="The teams, in the order in which they are tried.",
    )
    identities: list[Identity] = Field(
        default_factory=list,
        max_length=500,
        json_schema_extra=_BY_NAME,
        description="Accounts of several systems that are the same person, agent or bot. Accounts that are not named "
        "are joined by their mail addresses and names.",
    )

    @model_validator(mode="after")
    def _fit(self) -> Self:
        for part, names in (("teams", [t.name for t in self.teams]), ("identities", [i.name for i in self.identities])):
            for name in names:
                if names.count(name) > 1:
                    # The API server says the same through the list's map key.
                    raise ValueError(f"{part}: Duplicate value {name!r}; give each its own name")
        if (size := len(self.model_dump_json().encode())) > VARIABLES_BYTES:
            raise ValueError(
                f"the variables are {size} bytes long, {VARIABLES_BYTES} at most; name fewer identities: accounts with "
                "the same mail address or name are joined without"
            )
        return self

    def as_vars(self) -> dict[str, JsonValue]:
        """As variables of the dbt project: snake case, as JSON."""
        return self.model_dump(mode="json")


class Transform(Part):
    """The dbt run after loads."""

    settle_time: Duration = Field(default="30s", description="A transform waits until no load finished for this long.")
    longest_wait: Duration = Field(default="10m", description="But no finished load waits longer than this.")
    variables: Variables = Field(
        default=Variables(), json_schema_extra={"default": {}}, description="Names and patterns."
    )
    resources: Resources = _resources("200m", "512Mi", "2Gi", "Compute resources of a transform.")
    image: Image | None = _image("Image of the dbt project and what runs it")
    pod_template: PodTemplate | None = _POD_TEMPLATE

    rules = (
        Rule(
            # The API server checks the default `{}` itself against this rule, before it fills in defaults.
            cel="!has(self.settleTime) || !has(self.longestWait)"
            " || self.settleTime.contains('d') || self.longestWait.contains('d')"
            " || duration(self.settleTime) <= duration(self.longestWait)",
            message="transform: settleTime is longer than longestWait; raise longestWait or lower settleTime",
            check=lambda s: seconds(s.settle_time) <= seconds(s.longest_wait) or "d" in s.settle_time + s.longest_wait,
        ),
    )


class Ingress(Part):
    """How the API is reached from outside the cluster."""

    host: Text = Field(description="Host name.")
    class_name: Text | None = Field(default=None, description="IngressClass; the cluster's default when absent.")
    tls_secret_name: Text | None = Field(default=None, description="Secret with the certificate; no TLS when absent.")
    annotations: dict[str, str] = Field(default_factory=dict, description="Annotations of the Ingress.")


class Auth(Part):
    """Who may ask the API."""

    mode: Literal["Token", "None"] = Field(
        default="Token", description="Token: a bearer token is asked for. None: everybody who reaches the Service."
    )
    token_secret_ref: SecretRef | None = Field(
        default=None,
        description="Secret with the key `token`, one token a line; the operator makes `STACK-api-token` when absent.",
    )


class Api(Part):
    """The API over gold."""

    replicas: int = Field(default=1, ge=0, le=32, description="Number of pods.")
    autoscaled: bool = Field(
        default=False,
        description="Leave the number of pods to an autoscaler of the Deployment `STACK-api`; of `replicas` only a 0 "
        "counts then.",
    )
    resources: Resources = _resources("50m", "192Mi", "512Mi", "Compute resources of a pod.")
    image: Image | None = _image("Image of the API")
    pod_template: PodTemplate | None = _POD_TEMPLATE
    ingress: Ingress | None = Field(default=None, description="An Ingress; none when absent.")
    auth: Auth = Field(default=Auth(), json_schema_extra={"default": {}}, description="Authentication.")


class Monitoring(Part):
    """Objects for the Prometheus operator."""

    service_monitor: bool = Field(
        default=False, description="Make a ServiceMonitor for the API (needs the CRDs of the Prometheus operator)."
    )
    labels: dict[str, str] = Field(default_factory=dict, description="Labels by which your Prometheus selects it.")


class NetworkPolicy(Part):
    """Who may talk to whom."""

    enabled: bool = Field(
        default=True,
        description="Only the stack's own pods and the operator reach the store; loads accept no connection.",
    )


Days = Annotated[int, Field(ge=1, le=36500)]


class Retention(Part):
    """How long rows are kept, by the time of the event; for ever when absent.

    Each layer is kept by itself: silver and gold may keep longer than bronze. A full refresh (asked for, or made by a
    changed variable, source or release) builds silver and gold again from bronze, and so only what bronze still holds.
    """

    bronze: Days | None = Field(
        default=None,
        description="Days in bronze, by the time of the event or of the last change. What is older can be loaded "
        "again only from the source, and a full refresh leaves it out of silver and gold.",
    )
    silver: Days | None = Field(
        default=None,
        description="Days in silver, by the time of the event; tables that speak of no event (people, repositories) "
        "keep everything. May be longer than bronze: what changes is built again from silver's own rows.",
    )
    gold: Days | None = Field(
        default=None,
        description="Days in gold, by the time of the event or the start of the period; tables that speak of no time "
        "keep everything. May be longer than silver; but a month that late data changes is built again from silver.",
    )


class StackSpec(Part):
    """What is wanted."""

    suspend: bool = Field(default=False, description="No new loads and transforms while true; store and API stay.")
    pod_template: PodTemplate | None = Field(
        default=None, description="What is laid over every pod: of the store, the loads, the transforms and the API."
    )
    store: Store = Field(
        default=Store(managed=ManagedStore()),
        json_schema_extra={"default": {"managed": {}}},
        description="Where the data lives.",
    )
    sources: list[Source] = Field(
        min_length=1,
        max_length=16,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        description="What is loaded.",
    )
    loads: Loads = Field(default=Loads(), json_schema_extra={"default": {}}, description="What all loads share.")
    transform: Transform = Field(
        default=Transform(), json_schema_extra={"default": {}}, description="The dbt run after loads."
    )
    api: Api = Field(default=Api(), json_schema_extra={"default": {}}, description="The API over gold.")
    monitoring: Monitoring = Field(
        default=Monitoring(), json_schema_extra={"default": {}}, description="Objects for the Prometheus operator."
    )
    network_policy: NetworkPolicy = Field(
        default=NetworkPolicy(), json_schema_extra={"default": {}}, description="Who may talk to whom."
    )
    retention: Retention = Field(
        default=Retention(), json_schema_extra={"default": {}}, description="How long rows are kept."
    )
    deletion_policy: Literal["Retain", "Delete"] = Field(
        default="Retain",
        description="What becomes of the store's volumes when the stack is deleted: Retain keeps, Delete removes them.",
    )

    def transform_request(self, loaded: Iterable[str]) -> TransformRequest:
        """What a transform is asked to do that covers loads of these sources."""
        return TransformRequest(
            sources=[TransformSource(name=source.name, type=source.type) for source in self.sources],
            loaded=sorted(set(loaded)),
            variables=self.transform.variables.as_vars(),
            bronze_retention_days=self.retention.bronze,
            silver_retention_days=self.retention.silver,
            gold_retention_days=self.retention.gold,
        )

    @model_validator(mode="after")
    def _unique_names(self) -> Self:
        names = [source.name for source in self.sources]
        for name in names:
            if names.count(name) > 1:
                # The API server says the same through the list's map key.
                raise ValueError(f"sources: Duplicate value {name!r}; give each source its own name")
        return self


class Condition(BaseModel):
    """A condition by the Kubernetes API conventions (metav1.Condition)."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)

    type: str = Field(description="Name of the condition.")
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it holds.")
    reason: str = Field(description="Why, for machines.")
    message: str = Field(default="", description="Why, for people.")
    observed_generation: int = Field(default=0, description="The generation of the spec that this speaks of.")
    last_transition_time: datetime = Field(description="When the status last changed.")


class StatusPart(BaseModel):
    """A part of the status; fields of a newer version are ignored."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)


class SourceStatus(StatusPart):
    """What is known of one source."""

    name: str = Field(description="Name of the source.")
    type: str = Field(default="", description="langfuse, github, jira or prometheus.")
    state: Literal["Pending", "Loading", "Healthy", "Failing", "Suspended"] = Field(
        default="Pending", description="Where it stands."
    )
    message: str = Field(default="", description="Why it fails, or what was warned of.")
    reason: str = Field(default="", description="Why, for machines.")
    last_load_time: datetime | None = Field(default=None, description="When the last load ended.")
    last_success_time: datetime | None = Field(default=None, description="When the last successful load ended.")
    rows: dict[str, int] = Field(default_factory=dict, description="Rows written by the last successful load, a table.")
    requests: int = Field(default=0, description="Requests of the last successful load.")
    cursor: str | None = Field(default=None, description="How far the source is covered.")
    newest_event_at: datetime | None = Field(default=None, description="The newest event seen.")
    duration_seconds: float = Field(default=0.0, description="How long the last load took.")


class TransformStatus(StatusPart):
    """The committed position of the transforms."""

    sequence: int = Field(default=0, description="Number of the last transform that ended.")
    consumed: list[str] = Field(
        default_factory=list, description="Loads that a successful transform covered and whose evidence still exists."
    )
    failures: int = Field(
        default=0, description="Transforms that failed since the last success, or since the spec changed."
    )
    failed_generation: int = Field(
        default=0, description="Generation of the spec with which the last transform failed; 0 when it succeeded."
    )
    last_start_time: datetime | None = Field(default=None, description="When the last transform started.")
    last_end_time: datetime | None = Field(default=None, description="When the last transform ended.")
    last_success_time: datetime | None = Field(default=None, description="When the last successful transform ended.")
    covered: dict[str, datetime] = Field(
        default_factory=dict, description="Per source, the newest end of a load that a successful transform covered."
    )
    rows: dict[str, int] = Field(default_factory=dict, description="Rows of the gold tables.")
    models: str = Field(default="", description="Models of the last transform, e.g. 12 ok, 0 failed.")
    tests: str = Field(default="", description="Tests of the last transform.")
    message: str = Field(default="", description="Why the last transform failed.")
    duration_seconds: float = Field(default=0.0, description="How long the last transform took.")

    def with_summary(self, summary: TransformSummary | None, *, failure: str) -> TransformStatus:
        """Add what the transform told of itself; `failure` is said when it failed without a word."""
        change: dict[str, Any] = {"message": ""}
        if summary is not None:
            change |= {
                "models": f"{summary.models.ok} ok, {summary.models.failed} failed, {summary.models.skipped} skipped",
                "tests": f"{summary.tests.ok} ok, {summary.tests.failed} failed",
                "rows": summary.rows or self.rows,
                "duration_seconds": summary.duration_seconds,
            }
        if self.failures:
            told = [summary.error.message] if summary and summary.error else []
            told += [f"{f.node}: {f.message}" for f in summary.failures] if summary else []
            change["message"] = "; ".join(told)[:1024] or failure
        return self.model_copy(update=change)


class StackStatus(StatusPart):
    """What is."""

    observed_generation: int = Field(default=0, description="The generation of the spec that the status speaks of.")
    conditions: list[Condition] = Field(
        default_factory=list,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
        description="Ready, SpecAccepted, StoreReady, SourcesHealthy, Transformed, APIReady.",
    )
    sources: list[SourceStatus] = Field(
        default_factory=list,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        description="Each source.",
    )
    healthy_sources: str = Field(default="", description="How many sources are healthy, e.g. 3/4.")
    last_load_time: datetime | None = Field(default=None, description="When the last load ended.")
    last_transform_time: datetime | None = Field(default=None, description="When the last successful transform ended.")
    transform: TransformStatus = Field(default=TransformStatus(), description="The transforms.")
    api_url: str = Field(default="", description="Where the API answers, inside the cluster.")


class Metadata(BaseModel):
    """The parts of the object's metadata that are used here."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)

    name: Annotated[str, Field(pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$", max_length=NAME_LENGTH)]
    namespace: str = "default"
    uid: str = ""
    generation: int = 0


class ObservabilityStack(BaseModel):
    """One stack: sources in, gold tables and an API out."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)

    api_version: Literal["observability.forge.dev/v1alpha1"] = "observability.forge.dev/v1alpha1"
    kind: Literal["ObservabilityStack"] = "ObservabilityStack"
    metadata: Metadata
    spec: StackSpec
    status: StackStatus = StackStatus()

    @classmethod
    def parse(cls, manifest: dict[str, Any]) -> ObservabilityStack:
        """Read a manifest. Raises pydantic's ValidationError; `explain` makes its lines for people."""
        return cls.model_validate(manifest)


def explain(error: Any) -> list[str]:
    """The lines of a ValidationError for people: the field's path as in YAML, and what is wrong."""
    lines = []
    for item in error.errors():
        path = re.sub(r"\.(\d+)", r"[\1]", ".".join(to_camel(p) if isinstance(p, str) else str(p) for p in item["loc"]))
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            message = "unknown field; check its spelling and its place"
        lines.append(f"{path}: {message}" if path else message)
    return lines
