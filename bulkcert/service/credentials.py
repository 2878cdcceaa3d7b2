"""Credentials from the vendor's default chain, resolved off the event loop by one caller at a time.

The chain blocks the loop that calls it, reads the environment once at import, and logs with tracebacks of its own
(reference, section 9): so it is imported late, called in a worker thread under a lock, and its log is silenced.
"""

import logging
import os
from typing import Any, Protocol

import anyio
import anyio.to_thread

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.service.signing import Credentials

RENEW_EVERY_S = 60.0
"""How often a run asks the chain again: it renews temporary credentials 15 minutes before they expire."""


RENEW_WITHIN_S = 30.0
"""Most seconds that the chain may take."""


class CredentialProvider(Protocol):
    """Where the credentials of each call come from."""

    @property
    def current(self) -> Credentials:
        """What to sign with now."""
        ...

    async def renew(self, stale: Credentials | None = None) -> None:
        """Fetches credentials; does nothing if ``stale`` is no longer what is current.

        Raises:
            BulkcertError: No provider of the chain has credentials.
        """
        ...


class FixedCredentials:
    """Credentials that never change: those of the emulator."""

    def __init__(self, credentials: Credentials) -> None:
        self.current = credentials

    async def renew(self, stale: Credentials | None = None) -> None:
        """Does nothing: there is nothing to renew."""


class ChainCredentials:
    """The vendor's default chain (reference, section 9)."""

    def __init__(self) -> None:
        self._current: Credentials | None = None
        self._one_at_a_time = anyio.Lock()
        self._chain: Any = None

    @property
    def current(self) -> Credentials:
        """What to sign with now; ``renew`` must have returned once."""
        if self._current is None:
            raise RuntimeError("credentials were used before they were resolved")
        return self._current

    async def renew(self, stale: Credentials | None = None) -> None:
        """Asks the chain, which answers from its own cache while that is fresh.

        Raises:
            BulkcertError: No provider of the chain has credentials.
        """
        async with self._one_at_a_time:
            if stale is None or stale == self._current:
                try:
                    with anyio.fail_after(RENEW_WITHIN_S):
                        self._current = await anyio.to_thread.run_sync(self._resolve, abandon_on_cancel=True)
                except TimeoutError as error:
                    raise BulkcertError(
                        ExitStatus.DENIED,
                        f"no credentials: none of their providers answered within {RENEW_WITHIN_S:g} s",
                        "Check what provides them (a metadata server, a credentials URI, a command of a profile).",
                    ) from error

    def _resolve(self) -> Credentials:
        from alibabacloud_credentials.client import Client  # noqa: PLC0415 - slow, and reads the environment at import

        log = logging.getLogger("credentials")
        log.handlers.clear()
        log.addHandler(logging.NullHandler())
        log.propagate = False
        try:
            if self._chain is None:
                self._chain = Client()
            found = self._chain.get_credential()
        except Exception as error:  # the chain runs foreign code and raises whatever its providers raise
            raise _no_credentials(error) from error
        source = _source_text(found.provider_name or "")
        texts = (found.access_key_id, found.access_key_secret, found.security_token or "-")
        if not all(text and text.isascii() and text.isprintable() and text == text.strip() for text in texts):
            raise BulkcertError(
                ExitStatus.DENIED,
                f"the credentials from {source} are empty or hold white space or characters that no key has",
                "Copy them again: often a blank, a line feed or an invisible character has come along.",
            )
        expires_at = _expiry(self._chain, found.access_key_id, found.security_token) if found.security_token else None
        return Credentials(
            found.access_key_id, found.access_key_secret, found.security_token or None, source, expires_at
        )


def _expiry(chain: Any, key_id: str, token: str) -> float | None:
    """Returns when temporary credentials end, Unix seconds; None where nothing says so.

    The chain passes on what its providers found without its end, so the provider that was last used is asked for what
    it holds; in whatever release of the chain that is not there, the end is not known.
    """
    provider: Any = getattr(getattr(chain, "cloud_credential", None), "provider", None)
    for wrapped in _WRAPPED:
        provider = getattr(provider, wrapped, provider)
    # One that keeps nothing would have to fetch again, or run a command.
    if not hasattr(provider, "_credentials_cache"):
        return None
    try:
        held = provider.get_credentials()
        if (held.get_access_key_id(), held.get_security_token()) != (key_id, token):
            return None
        expires_at = held.get_expiration()
    except Exception:  # noqa: BLE001 - foreign code; and the end is only shown, never relied on
        return None
    return float(expires_at) if isinstance(expires_at, int | float) and expires_at > 0 else None


_WRAPPED = (
    "_DefaultCredentialsProvider__last_used_provider",
    "_CLIProfileCredentialsProvider__innerProvider",
    "_ProfileCredentialsProvider__innerProvider",
)
"""Where the chain and its profiles keep the provider that was last used."""


_SOURCES = {
    "env": "the environment",
    "oidc_role_arn": "an OIDC token",
    "cli_profile": "a profile of the aliyun command",
    "profile": "a profile of the credentials file",
    "ecs_ram_role": "the RAM role of this machine",
    "credential_uri": "a credentials URI",
}
"""What people call the links of the chain, by the library's names of them."""


def _source_text(provider: str) -> str:
    """Returns where credentials come from; ``provider`` is the library's path, as in ``default/cli_profile/static_ak``.

    The profile that ALIBABA_CLOUD_PROFILE names is named; one that is not known stays as it is.
    """
    link = provider.removeprefix("default/").partition("/")[0]
    profile = os.environ.get("ALIBABA_CLOUD_PROFILE")
    source = _SOURCES.get(link, provider)
    return source.replace("a profile", f"the profile {profile}", 1) if profile else source


_JARGON = {
    "unable to load credentials from any of the providers in the chain: ": "",
    "EnvironmentVariableCredentialsProvider: ": "in the environment: ",
    "OIDCRoleArnCredentialsProvider: ": "by OIDC: ",
    "CLIProfileCredentialsProvider: ": "of the aliyun command: ",
    "ProfileCredentialsProvider: ": "in the credentials file: ",
    "EcsRamRoleCredentialsProvider: ": "from the metadata server: ",
    "URLCredentialsProvider: ": "from the credentials URI: ",
    "Environment variable accessKeyId cannot be empty": "ALIBABA_CLOUD_ACCESS_KEY_ID is not set",
    "Environment variable accessKeySecret cannot be empty": "ALIBABA_CLOUD_ACCESS_KEY_SECRET is not set",
    "credentials file: $": "credentials file: ",
    " form cli ": " from cli ",
}
"""Words of the library, and ours; the errors of its links come as one text."""


def _no_credentials(error: Exception) -> BulkcertError:
    tried = " ".join(str(error).split()).replace("['", "").replace("']", "").replace("', '", "; ")
    for jargon, plain in _JARGON.items():
        tried = tried.replace(jargon, plain)
    return BulkcertError(
        ExitStatus.DENIED,
        f"no credentials: {tried}",
        "Set ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET, or use a profile of "
        "the aliyun command or a RAM role.",
        again=True,
    )
