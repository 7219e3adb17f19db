import hashlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from forge_store.errors import StoreError
from forge_store.users import LOOPBACK, ConfigurationError, Users, read_folder, users_of


def write(folder: Path, name: str, content: Any) -> None:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(content))


def test_without_users_only_this_machine_may_come() -> None:
    users = Users(None)
    assert users.authenticate("default", "", "127.0.0.1").name == "default"
    for name, password, address in [("default", "", "10.0.0.1"), ("other", "", "127.0.0.1")]:
        with pytest.raises(StoreError) as raised:
            users.authenticate(name, password, address)
        assert raised.value.code == 516


def test_a_broken_file_is_named_without_its_passwords(tmp_path: Path) -> None:
    (tmp_path / "users.yaml").write_text("users:\n  a:\n    password: hunter2: x\n")
    with pytest.raises(ConfigurationError, match=r"users\.yaml: line 3 is no YAML") as raised:
        read_folder(tmp_path)
    assert "hunter2" not in str(raised.value)


def test_a_link_to_nothing_is_no_file(tmp_path: Path) -> None:
    write(tmp_path, "users.d/a.yaml", {"users": {"a": {"password": "one"}}})
    users = Users(tmp_path)
    (tmp_path / "users.d" / "b.yaml").symlink_to(tmp_path / "gone")
    users.load_if_changed()
    assert users.authenticate("a", "one", "192.0.2.1").name == "a"
    users.load()
    assert users.authenticate("a", "one", "192.0.2.1").name == "a"


def test_passwords_profiles_and_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_PASSWORD", "from env")
    digest = hashlib.sha256(b"hashed").hexdigest()
    write(
        tmp_path,
        "users.yaml",
        {"users": {"default": {"password": "the first"}}, "profiles": {"default": {"max_threads": 2}}},
    )
    write(
        tmp_path,
        "users.d/a.yaml",
        {
            "users": {
                "default": {"@remove": "remove"},
                "env": {"password": {"@from_env": "THE_PASSWORD"}, "networks": {"ip": ["10.0.0.0/8", "::1"]}},
                "hash": {"password_sha256_hex": digest, "profile": "readonly"},
                "open": {"no_password": ""},
            },
            "profiles": {"readonly": {"readonly": 2}},
        },
    )
    users = Users(tmp_path)
    assert users.authenticate("env", "from env", "10.1.2.3").readonly == 0
    assert users.authenticate("env", "from env", "::ffff:10.1.2.3").settings == {"max_threads": "2"}
    assert users.authenticate("hash", "hashed", "192.0.2.1").settings == {"max_threads": "2", "readonly": "2"}
    assert users.authenticate("open", "anything", "192.0.2.1").name == "open"
    for name, password, address in [
        ("env", "from env", "11.0.0.1"),
        ("env", "wrong", "10.0.0.1"),
        ("hash", digest, "10.0.0.1"),
        ("hash", "", "10.0.0.1"),
        ("default", "the first", "127.0.0.1"),
    ]:
        with pytest.raises(StoreError) as raised:
            users.authenticate(name, password, address)
        assert password not in raised.value.text or not password


@pytest.mark.parametrize(
    ("configuration", "says"),
    [
        ({"users": {"a": {}}}, "users.a: password_sha256_hex, password or no_password"),
        ({"users": {"a": {"password_sha256_hex": "xy"}}}, "users.a.password_sha256_hex: 64"),
        ({"users": {"a": {"password": {"@from_env": "NOT_SET_ANYWHERE"}}}}, "NOT_SET_ANYWHERE is not set"),
        ({"users": {"a": {"password": "x", "profile": "nope"}}}, "there is no profile nope"),
        ({"users": {"a": {"password": "x", "networks": {"ip": "word"}}}}, "users.a.networks.ip"),
        ({"users": {"a": {"password": "x", "networks": {"host": "h"}}}}, "only `ip` is understood"),
        (
            {"users": {"a": {"password": "x", "profile": "p"}}, "profiles": {"p": {"readonly": 3}}},
            "readonly: 0, 1 or 2",
        ),
    ],
)
def test_mistakes_are_named(configuration: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says.replace(".", r"\.")):
        users_of(configuration)


def test_a_changed_file_is_read_again_and_a_broken_one_is_not_used(tmp_path: Path) -> None:
    write(tmp_path, "users.d/a.yaml", {"users": {"a": {"password": "one"}}})
    users = Users(tmp_path)
    write(tmp_path, "users.d/a.yaml", {"users": {"a": {"password": "second"}}})
    users.load_if_changed()
    assert users.authenticate("a", "second", "10.0.0.1").name == "a"
    (tmp_path / "users.d" / "a.yaml").write_text("users: [")
    users.load_if_changed()
    assert users.authenticate("a", "second", "10.0.0.1").name == "a"


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such folder"):
        read_folder(tmp_path / "nothing")


def test_default_may_be_narrowed_by_its_networks_alone(tmp_path: Path) -> None:
    """As a server ships it: without a password, so that files of ours say only from where."""
    (tmp_path / "users.d").mkdir()
    (tmp_path / "users.d" / "a.yaml").write_text(
        'users: {default: {networks: {"@replace": replace, ip: [10.0.0.1]}}, other: {password: x}}'
    )
    users = users_of(read_folder(tmp_path))
    assert users["default"].password_sha256 is None
    assert [str(network) for network in users["default"].networks] == ["10.0.0.1/32"]
    assert users_of({"users": {"default": {}, "other": {"password": "x"}}})["default"].networks == LOOPBACK
