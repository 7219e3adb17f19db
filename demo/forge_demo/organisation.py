"""Who and what the simulated organisation is: people, agents, teams, projects, repositories, models and prices."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from zoneinfo import ZoneInfo

ORGANISATION = "acme-robotics"


@dataclass(frozen=True, slots=True)
class Person:
    """A human or an agent, with one account in GitHub and one in Jira.

    `login` is GitHub's GraphQL form; REST adds `[bot]` to that of a bot.
    """

    login: str
    name: str
    account_id: str
    database_id: int
    zone: str = "Etc/UTC"
    is_agent: bool = False

    @property
    def email(self) -> str:
        """The address in commits: bots have GitHub's no-reply form."""
        if self.is_agent:
            return f"{self.database_id}+{self.login}[bot]@users.noreply.github.com"
        return f"{self.login}@acme-robotics.example"

    @property
    def git_name(self) -> str:
        """The name in commits."""
        return f"{self.login}[bot]" if self.is_agent else self.name

    @property
    def tz(self) -> ZoneInfo:
        """Where the person works."""
        return ZoneInfo(self.zone)


def _person(login: str, name: str, number: int, zone: str) -> Person:
    return Person(login, name, f"5f{number:06x}a1b2c3d4e5f6a7b8", 1_000_000 + number * 7919, zone)


def _agent(login: str, name: str, number: int) -> Person:
    return Person(login, name, f"557058:{number:08x}-0000-4000-8000-0000000forge", 150_000_000 + number, is_agent=True)


_BERLIN, _NEW_YORK = "Europe/Berlin", "America/New_York"


@dataclass(frozen=True, slots=True)
class Team:
    """A team owns one Jira project and works in some repositories."""

    name: str
    project: str
    project_name: str
    repositories: tuple[str, ...]
    members: tuple[Person, ...]
    lead: Person


PLATFORM = Team(
    "platform",
    "FLEET",
    "Fleet Platform",
    ("fleet-api", "fleet-web"),
    (
        _person("amelie-wagner", "Amélie Wagner", 1, _BERLIN),
        _person("jonas-b", "Jonas Bäcker", 2, _BERLIN),
        _person("priya-n", "Priya Natarajan", 3, _BERLIN),
        _person("wei-zhang", "张伟", 4, _BERLIN),
        _person("tomasz-k", "Tomasz Kowalczyk", 5, _BERLIN),
    ),
    _person("marta-silva", "Marta Silva", 6, _BERLIN),
)
PAYMENTS = Team(
    "payments",
    "PAY",
    "Payments",
    ("pay-core",),
    (
        _person("dana-o", "Dana O'Connor", 7, _NEW_YORK),
        _person("luis-r", "Luis Ramírez", 8, _NEW_YORK),
        _person("kenji-sato", "佐藤 健二", 9, _NEW_YORK),
        _person("grace-a", "Grace Adeyemi", 10, _NEW_YORK),
    ),
    _person("sam-lee", "Sam Lee", 11, _NEW_YORK),
)
TEAMS = (PLATFORM, PAYMENTS)
REPOSITORIES = tuple(repository for team in TEAMS for repository in team.repositories)

PLANNER = _agent("forge-planner", "Forge Planner", 101)
CODER = _agent("forge-coder", "Forge Coder", 102)
FIXER = _agent("forge-fixer", "Forge Fixer", 103)
DEPENDABOT = Person("dependabot", "dependabot", "557058:dependabot", 49_699_333, is_agent=True)
AGENTS = (PLANNER, CODER, FIXER)
STAGE_AGENTS = {"plan": PLANNER, "implement": CODER, "review_fix": FIXER}
STAGES = tuple(STAGE_AGENTS)
PEOPLE = (*(person for team in TEAMS for person in (*team.members, team.lead)), *AGENTS, DEPENDABOT)
BY_LOGIN = {person.login: person for person in PEOPLE}

LANGFUSE_PROJECT_ID = "clforge0000demo0project01"
LANGFUSE_PROJECT_NAME = "forge"


@dataclass(frozen=True, slots=True)
class Model:
    """A model and its prices in US dollars a token."""

    name: str
    id: str
    input_price: Decimal
    output_price: Decimal
    cache_read_price: Decimal


MODELS = (
    Model("claude-sonnet-4-5", "clmodel-sonnet", Decimal("0.000003"), Decimal("0.000015"), Decimal("0.0000003")),
    Model("claude-haiku-4-5", "clmodel-haiku", Decimal("0.000001"), Decimal("0.000005"), Decimal("0.0000001")),
    Model("gpt-5-mini", "clmodel-gpt5mini", Decimal("0.00000025"), Decimal("0.000002"), Decimal("0.000000025")),
)
MODELS_BY_NAME = {model.name: model for model in MODELS}


@dataclass(frozen=True, slots=True)
class Status:
    """A Jira status; `category` is Jira's key: new, indeterminate or done."""

    id: str
    name: str
    category: str


TODO = Status("10000", "To Do", "new")
PLANNING = Status("10001", "Planning", "indeterminate")
PLAN_REVIEW = Status("10002", "Plan Review", "indeterminate")
IN_PROGRESS = Status("10003", "In Progress", "indeterminate")
IN_REVIEW = Status("10004", "In Review", "indeterminate")
DONE = Status("10005", "Done", "done")
STATUSES = {status.id: status for status in (TODO, PLANNING, PLAN_REVIEW, IN_PROGRESS, IN_REVIEW, DONE)}

ISSUE_TYPES = {"Story": "10101", "Bug": "10102", "Task": "10103", "Incident": "10104", "Epic": "10105"}
PRIORITIES = {"Highest": "1", "High": "2", "Medium": "3", "Low": "4"}
RESOLUTIONS = {"Done": "10000", "Won't Do": "10001"}
STORY_POINTS, SEVERITY = "customfield_10016", "customfield_10042"

VERBS = ("Add", "Fix", "Speed up", "Document", "Retry", "Validate", "Remove", "Cache", "Localise", "Harden")
OBJECTS = (
    "route planner",
    "invoice export",
    "webhook signatures",
    "battery telemetry",
    "refund flow",
    "login throttling",
    "map tiles",
    "currency rounding (€, ¥)",
    "driver onboarding",
    "search für Straßennamen",
    "配送状态 page",
    "CSV import",
    "payout schedule",
    "audit log",
    "dark mode 🌙",
)
QUALIFIERS = (
    "for large fleets",
    "in the mobile app",
    "behind a flag",
    "when offline",
    "on slow networks",
    "for São Paulo",
    "with idempotency keys",
    "after time-outs",
)
LABELS = ("backend", "frontend", "tech-debt", "customer", "security")
