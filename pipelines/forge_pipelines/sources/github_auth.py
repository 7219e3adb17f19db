"""Who a load is at GitHub: a token, or an installation of a GitHub App whose tokens last an hour.

"Authenticating as a GitHub App installation" (GitHub documentation): a JSON Web Token, signed with the App's private
key and valid for ten minutes at most, is given for an installation token.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from forge_pipelines.http import Api
from forge_pipelines.problems import LoadError
from forge_pipelines.sources import Credentials
from forge_pipelines.tables import moment

HEADERS = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
SKEW = timedelta(minutes=1)
"""How much GitHub's clock may be behind ours."""
TOKEN_LIFE = timedelta(minutes=9)
RENEWED_BEFORE = timedelta(minutes=5)
"""How long before its end an installation token is renewed: longer than any one request takes."""


def connect(url: str, credentials: Credentials) -> Api:
    """The API as the Secret's user: `token`, or `appId`, `installationId` and `privateKey`. Raises LoadError."""
    if credentials.get("appId") is None and credentials.get("privateKey") is None:
        headers = {**HEADERS, "Authorization": f"Bearer {credentials.require('token')}"}
        return Api(url, headers)
    api = Api(url, HEADERS)
    api.authorise = Installation(
        api, credentials.require("appId"), credentials.require("installationId"), credentials.require("privateKey")
    )
    return api


class Installation:
    """Gives the headers of an installation of an App; a token is renewed before it ends, and when it is refused."""

    def __init__(self, api: Api, app: str, installation: str, key: str) -> None:
        """Take the App's id, the installation's id and the App's private key (PEM). Nothing is asked yet."""
        self.api, self.app, self.installation, self._key = api, app, installation, key
        self._headers: dict[str, str] = {}
        self._until = 0.0

    def __call__(self, renew: bool) -> Mapping[str, str]:
        """The headers of the next request. Raises LoadError when GitHub gives no token."""
        if renew or self.api.clock() > self._until:
            path = f"/app/installations/{self.installation}/access_tokens"
            headers = {"Authorization": f"Bearer {self.app_token()}"}
            what = f"a token of installation {self.installation} of App {self.app}"
            try:
                answer = self.api.send("POST", path, headers=headers, what=what)
                ends = moment(answer["expires_at"])
                self._headers = {"Authorization": f"Bearer {answer['token']}"}
            except LoadError as error:
                raise explained(error, self.app, self.installation) from error
            except (LookupError, TypeError) as error:
                raise LoadError(
                    "BadResponse", f"{self.api.host} gives no token for {what}; check that url is GitHub's API"
                ) from error
            self._until = ends.timestamp() - RENEWED_BEFORE.total_seconds() if ends else 0.0
        return self._headers

    def app_token(self) -> str:
        """The App's own JSON Web Token. Raises LoadError (InvalidConfiguration) for what is no private key."""
        import jwt  # a load with a token does without

        now = int(self.api.clock())
        claims = {
            "iat": now - int(SKEW.total_seconds()),
            "exp": now + int(TOKEN_LIFE.total_seconds()),
            "iss": self.app,
        }
        try:
            return jwt.encode(claims, self._key, algorithm="RS256")
        except (ValueError, TypeError, jwt.PyJWTError) as error:
            raise LoadError(
                "InvalidConfiguration",
                "the key 'privateKey' of the source's Secret is no RSA private key in PEM; put the file there that "
                "GitHub gave when the key of the App was made",
            ) from error


def explained(error: LoadError, app: str, installation: str) -> LoadError:
    """What a refused App means."""
    if error.reason == "Unauthorized":
        return LoadError(
            "Unauthorized",
            f"{error.message} (App {app}: 'appId' and 'privateKey' of the Secret must belong together, and this "
            "machine's clock must be right)",
        )
    if error.reason == "NotFound":
        return LoadError(
            "NotFound",
            f"App {app} has no installation {installation}: correct 'installationId' in the Secret (the number at the "
            "end of the installation's page), or install the App",
        )
    return error
