"""The stack that loads a running demo: stack.yaml with the addresses and credentials filled in."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.resources import files
from string import Template

from forge_demo.settings import Credentials


def render(name: str, url: str, prometheus_url: str, schedule: str, auth: str, credentials: Credentials) -> str:
    """The stack file. Values are written as YAML strings, so that none of them can become something else."""
    template = Template((files("forge_demo") / "stack.yaml").read_text(encoding="utf-8"))
    words = {key: json.dumps(value) for key, value in asdict(credentials).items()}
    return template.substitute(
        words,
        name=name,
        url=url,
        prometheus_url=prometheus_url,
        schedule=json.dumps(schedule),
        auth=auth,
    )
