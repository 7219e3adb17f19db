"""The stack file that `init` writes."""

from __future__ import annotations

from collections.abc import Sequence

from forge_stack.model import API_VERSION, KIND, SourceType

SOURCES: dict[SourceType, tuple[str, str]] = {
    "langfuse": (
        """\
  - name: langfuse
    langfuse:
      url: https://cloud.langfuse.com
      credentialsSecretRef: {name: langfuse-credentials}
""",
        """\
metadata: {name: langfuse-credentials}
stringData:
  publicKey: pk-lf-...
  secretKey: sk-lf-...
""",
    ),
    "github": (
        """\
  - name: github
    github:
      url: https://api.github.com
      credentialsSecretRef: {name: github-credentials}
      organizations: [your-organization]
""",
        """\
metadata: {name: github-credentials}
stringData:
  token: ghp_...
""",
    ),
    "jira": (
        """\
  - name: jira
    jira:
      url: https://your-site.atlassian.net
      credentialsSecretRef: {name: jira-credentials}
      projects: [FORGE]
""",
        """\
metadata: {name: jira-credentials}
stringData:
  email: you@example.com
  token: ...
""",
    ),
    "prometheus": (
        """\
  - name: prometheus
    prometheus:
      url: http://prometheus.monitoring:9090
      queries:
      - name: forge
        expr: '{__name__=~"forge_.+"}'
""",
        "",
    ),
}


def render(name: str, sources: Sequence[SourceType]) -> str:
    """The text of a stack file with these sources."""
    parts = [SOURCES[source] for source in sources]
    stack = f"""\
# One stack: what is loaded, and when. Every field: `kubectl explain obs.spec`, or docs/reference.md.
apiVersion: {API_VERSION}
kind: {KIND}
metadata:
  name: {name}
spec:
  sources:
{"".join(source for source, _ in parts)}"""
    secrets = [f"---\napiVersion: v1\nkind: Secret\n{secret}" for _, secret in parts if secret]
    return stack + "".join(secrets)
