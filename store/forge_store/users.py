"""Users and profiles, from ClickHouse's own configuration files, in YAML.

`<folder>/users.yaml`, then `<folder>/users.d/*.yaml` in the order of their names, merged key by key. Of each user: a
password, `networks.ip`, `profile`. Of each profile: its settings, `readonly` among them. Values may be
`{"@from_env": NAME}`. Definitions: ClickHouse's documentation, "Configuration files" and "users and roles settings".
"""

import contextlib
import hashlib
import hmac
import ipaddress
import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from forge_store.errors import StoreError

logger = logging.getLogger(__name__)

_UNSUPPORTED = (
    "grants",
    "quotas",
    "databases",
    "access_management",
    "ssl_certificates",
    "ldap",
    "kerberos",
    "ssh_keys",
)


class ConfigurationError(Exception):
    """A configuration file that cannot be used; the text says which and why."""


@dataclass(frozen=True)
class User:
    """One user: the SHA-256 of the password (None: no password needed), where from, and the profile's settings."""

    name: str
    password_sha256: bytes | None
    settings: dict[str, str] = field(default_factory=dict)
    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()

    @property
    def readonly(self) -> int:
        """ClickHouse's `readonly`: 0, 1 (no settings either) or 2."""
        return int(self.settings.get("readonly", "0"))


LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
_NOBODY = User("", hashlib.sha256(os.urandom(32)).digest())


class Users:
    """The users of a folder, read again when its files change."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._seen: tuple[tuple[str, int, int], ...] = ()
        self._users: dict[str, User] = {}
        self.load()

    def load(self) -> None:
        """Reads the files; on an error the users stay as they were and ConfigurationError is raised."""
        seen = self._fingerprint()
        self._users = users_of(read_folder(self._folder) if self._folder else {})
        self._seen = seen
        logger.info("users loaded", extra={"users": sorted(self._users)})

    def load_if_changed(self) -> None:
        """Reads the files again if one of them changed; a broken file leaves the users as they were."""
        if self._fingerprint() == self._seen:
            return
        try:
            self.load()
        except ConfigurationError as error:
            self._seen = self._fingerprint()
            logger.error("the users stay as they were: %s", error)

    def authenticate(self, name: str, password: str, address: str | None) -> User:
        """The user of these credentials at this address; StoreError 516 otherwise, in constant time."""
        user = self._users.get(name, _NOBODY)
        given = hashlib.sha256(password.encode()).digest()
        right = user.password_sha256 is None or hmac.compare_digest(given, user.password_sha256)
        if user is _NOBODY or not right or not _may_connect(user, address):
            raise StoreError(
                516,
                "AUTHENTICATION_FAILED",
                f"{name}: Authentication failed: password is incorrect, or there is no user with such name, "
                "or it may not connect from this address.",
            )
        return user

    def _fingerprint(self) -> tuple[tuple[str, int, int], ...]:
        found = []
        for path in files_of(self._folder) if self._folder else []:
            with contextlib.suppress(FileNotFoundError):  # a mounted file that just went leaves its link for a moment
                status = path.stat()
                found.append((str(path), status.st_mtime_ns, status.st_size))
        return tuple(found)


def files_of(folder: Path, stem: str = "users") -> list[Path]:
    """The files of one configuration in the order in which they are merged."""
    main = [folder / f"{stem}.yaml", folder / f"{stem}.yml"]
    more = [path for path in (folder / f"{stem}.d").glob("*") if path.suffix in (".yaml", ".yml") and path.exists()]
    return [path for path in main if path.is_file()] + sorted(more)


def read_folder(folder: Path, stem: str = "users") -> dict[str, Any]:
    """The merged configuration of a folder."""
    if not folder.is_dir():
        raise ConfigurationError(f"{folder}: no such folder")
    merged: dict[str, Any] = {}
    for path in files_of(folder, stem):
        try:
            content = yaml.safe_load(path.read_text()) or {}
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{path}: {error}") from error
        except yaml.YAMLError as error:
            # Its own text quotes the lines around, which may hold passwords.
            mark = getattr(error, "problem_mark", None)
            where = f"line {mark.line + 1}" if mark else "the file"
            raise ConfigurationError(f"{path}: {where} is no YAML") from None
        if not isinstance(content, dict):
            raise ConfigurationError(f"{path}: a mapping is wanted, found {type(content).__name__}")
        _merge(merged, content)
    return merged


def users_of(configuration: dict[str, Any]) -> dict[str, User]:
    """The users of a merged configuration. Without any, `default` may connect from this machine without a password."""
    profiles = {
        name: {key: _text(value, f"profiles.{name}.{key}") for key, value in (settings or {}).items()}
        for name, settings in (configuration.get("profiles") or {}).items()
    }
    users = configuration.get("users") or {}
    if not users:
        return {"default": User("default", None, profiles.get("default", {}), LOOPBACK)}
    return {name: _user(name, entry or {}, profiles) for name, entry in users.items()}


def _user(name: str, entry: dict[str, Any], profiles: dict[str, dict[str, str]]) -> User:
    for key in _UNSUPPORTED:
        if key in entry:
            logger.warning("users.%s.%s is not enforced by this store: limit the user by a readonly profile", name, key)
    profile = str(entry.get("profile", "default"))
    if profile not in profiles and profile != "default":
        raise ConfigurationError(f"users.{name}.profile: there is no profile {profile} among {sorted(profiles)}")
    settings = dict(profiles.get("default", {})) | profiles.get(profile, {})
    readonly = settings.get("readonly", "0")
    if readonly not in ("0", "1", "2"):
        raise ConfigurationError(f"profiles.{profile}.readonly: 0, 1 or 2 is wanted, found {readonly}")
    return User(str(name), _password(name, entry), settings, _networks(name, entry))


def _password(name: str, entry: dict[str, Any]) -> bytes | None:
    if "password_sha256_hex" in entry:
        text = _text(entry["password_sha256_hex"], f"users.{name}.password_sha256_hex")
        try:
            digest = bytes.fromhex(text.strip())
        except ValueError:
            digest = b""
        if len(digest) != 32:
            raise ConfigurationError(f"users.{name}.password_sha256_hex: 64 hexadecimal digits are wanted")
        return digest
    if "password" in entry:
        text = _text(entry["password"], f"users.{name}.password")
        return hashlib.sha256(text.encode()).digest() if text else None
    if "no_password" in entry or name == "default":
        # A server ships `default` without a password, and configurations narrow it by its networks alone.
        return None
    raise ConfigurationError(f"users.{name}: password_sha256_hex, password or no_password is wanted")


def _networks(name: str, entry: dict[str, Any]) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    networks = entry.get("networks") or {}
    if set(networks) - {"ip"}:
        raise ConfigurationError(f"users.{name}.networks: only `ip` is understood, found {sorted(networks)}")
    if not networks and name == "default" and "password" not in " ".join(entry):
        return LOOPBACK
    listed = networks.get("ip", [])
    try:
        return tuple(
            ipaddress.ip_network(str(ip), strict=False) for ip in (listed if isinstance(listed, list) else [listed])
        )
    except ValueError as error:
        raise ConfigurationError(f"users.{name}.networks.ip: {error}") from error


def _may_connect(user: User, address: str | None) -> bool:
    if not user.networks or any(network.prefixlen == 0 and network.version == 6 for network in user.networks):
        return True
    if address is None:
        return False
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    return any(ip in network for network in user.networks if network.version == ip.version)


def _text(value: Any, where: str) -> str:
    if isinstance(value, dict):
        variable = value.get("@from_env")
        if variable is None:
            raise ConfigurationError(f'{where}: a value or {{"@from_env": NAME}} is wanted')
        if variable not in os.environ:
            raise ConfigurationError(f"{where}: the environment variable {variable} is not set")
        return os.environ[variable]
    if isinstance(value, bool):
        return "1" if value else "0"
    return "" if value is None else str(value)


def _merge(into: dict[str, Any], more: dict[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, dict) and ("@remove" in value):
            into.pop(key, None)
        elif isinstance(value, dict) and "@replace" in value:
            into[key] = {name: entry for name, entry in value.items() if name != "@replace"}
        elif isinstance(value, dict) and "@from_env" not in value:
            known = into.get(key)
            into[key] = known if isinstance(known, dict) else {}
            _merge(into[key], value)
        else:
            into[key] = value
