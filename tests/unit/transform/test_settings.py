"""The environment is read with errors for people; secrets stay out of them and of the command line of dbt."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from forge_stack.wire import StoreDsn
from forge_transform.build import command, profile_environment
from forge_transform.cluster import SINGLE, Cluster
from forge_transform.project import PARTS, project_dir
from forge_transform.settings import read_settings, termination_log
from forge_transform.store import _explain


def environment(tmp_path: Path, **request: Any) -> dict[str, str]:
    (tmp_path / "dsn").write_text("http://forge:s3cr%2Ft@store:8123")
    asked = {"sources": [{"name": "gh-one", "type": "github"}], "loaded": ["gh-one"]} | request
    return {"FORGE_TRANSFORM": json.dumps(asked), "FORGE_STORE_DSN_FILE": str(tmp_path / "dsn")}


def test_defaults_and_variables(tmp_path: Path) -> None:
    settings = read_settings(
        environment(tmp_path, variables={"ticketKeyPattern": "X-[0-9]", "known_projects_only": "no"})
    )
    assert settings.work_dir == Path("/work")
    assert settings.dsn.password == "s3cr/t"
    assert settings.variables == {
        "ticket_key_pattern": "X-[0-9]",
        "known_projects_only": "no",
        "sources": [{"name": "gh-one", "type": "github"}],
    }
    assert termination_log({}) == Path("/dev/termination-log")


def test_lists_are_given_to_dbt_in_its_own_spelling(tmp_path: Path) -> None:
    teams = [{"name": "Shop", "repositories": ["acme/shop"], "jiraProjects": ["SHOP"]}]
    settings = read_settings(environment(tmp_path, variables={"teams": teams, "costOutlierFactor": 50}))
    assert settings.variables["teams"] == [{"name": "Shop", "repositories": ["acme/shop"], "jira_projects": ["SHOP"]}]
    assert settings.variables["cost_outlier_factor"] == 50


def test_a_cluster_is_a_setting_of_its_own(tmp_path: Path) -> None:
    assert read_settings(environment(tmp_path)).cluster == SINGLE
    named = environment(tmp_path) | {"FORGE_DBT_CLUSTER": "main"}
    cluster = read_settings(named).cluster
    assert (cluster.on, cluster.engine("ReplacingMergeTree", "x"), cluster.database) == (
        ' on cluster "main"',
        "ReplicatedReplacingMergeTree(x)",
        "",
    )
    replicated = Cluster("main", "Replicated('/d/{database}', '{shard}', '{replica}')")
    assert (replicated.on, replicated.engine()) == ("", "ReplicatedMergeTree()")
    assert (SINGLE.on, SINGLE.engine(), SINGLE.database) == ("", "MergeTree()", "")
    with pytest.raises(ValueError, match="FORGE_DBT_CLUSTER"):
        read_settings(environment(tmp_path) | {"FORGE_DBT_CLUSTER": 'a" drop'})


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"loaded": ["other"]}, "loaded names other"),
        ({"sources": [{"name": "a", "type": "gitlab"}]}, "sources.0.type"),
        ({"sources": [{"name": "a", "type": "jira"}, {"name": "a", "type": "jira"}], "loaded": []}, "two sources"),
        ({"sources": [{"name": "a'; drop", "type": "jira"}], "loaded": []}, "lower-case"),
    ],
)
def test_what_is_wrong_with_the_request_is_said(tmp_path: Path, request_: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_settings(environment(tmp_path, **request_))


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="FORGE_TRANSFORM is not set"):
        read_settings({})
    with pytest.raises(ValueError, match="cannot be read"):
        read_settings(environment(tmp_path) | {"FORGE_STORE_DSN_FILE": str(tmp_path / "none")})


def test_the_password_is_in_one_masked_variable_and_on_no_command_line(tmp_path: Path) -> None:
    settings = read_settings(environment(tmp_path))
    made = profile_environment(settings.dsn)
    assert [name for name, value in made.items() if "s3cr/t" in value] == ["DBT_ENV_SECRET_FORGE_DBT_PASSWORD"]
    assert "s3cr" not in " ".join(command("build", project_dir(), tmp_path))
    profile = yaml.safe_load((project_dir() / "profiles.yml").read_text())["forge_observability"]["outputs"]["store"]
    assert all(f"'{name}'" in str(profile) for name in made)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("Code: 516. DB::Exception: forge: Authentication failed", "Unauthorized"),
        ("Connection refused", "StoreUnavailable"),
        ("", "StoreUnavailable"),
    ],
)
def test_why_the_store_cannot_be_used(message: str, reason: str) -> None:
    problem = _explain(StoreDsn("store", 8123, "forge", "s3cr/t", False), message)
    assert problem.reason == reason
    assert "store:8123" in problem.message
    assert "s3cr" not in problem.message


def test_the_wheel_carries_the_project() -> None:
    import tomllib

    built = tomllib.loads((project_dir() / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert built["force-include"] == {part: f"forge_transform/dbt_project/{part}" for part in PARTS}
