"""Credentials from the vendor's default chain, resolved off the event loop by one caller at a time.

The chain blocks the loop that calls it, reads the environment once at import, and logs with tracebacks of its own
(reference, section 9): so it is imported late, called in a worker thread under a lock, and its log is silenced. Its
first link, the environment, is asked without it: the library costs a quarter of a second of CPU to load.
"""

import logging
import os
import re
from typing import Any

import anyio
import anyio.to_thread

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.log import event
from bulkcert.service.signing import Credentials
from bulkcert.words import later

RENEW_EVERY_S = 60.0
"""How often a run asks the chain again: it renews temporary credentials 15 minutes before they expire."""


RENEW_WITHIN_S = 30.0
"""Most seconds that the chain may take."""


def without_credentials() -> dict[str, str]:
    """Returns the environment of a child that signs no calls: without credentials, and options of this command."""
    return {name: text for name, text in os.environ.items() if not name.startswith(("ALIBABA_CLOUD_", "BULKCERT_"))}


class FixedCredentials:
    """Credentials that never change: those of the emulator."""

    def __init__(self, credentials: Credentials) -> None:
        self.current = credentials

    async def renew(self, stale: Credentials | None = None) -> None:
        """Does nothing: there is nothing to renew."""


class ChainCredentials:
    """The vendor's default chain (reference, section 9)."""

    current: Credentials
    """What to sign with now; there when ``renew`` has returned once."""

    def __init__(self) -> None:
        self._one_at_a_time = anyio.Lock()
        self._chain: Any = None

    async def renew(self, stale: Credentials | None = None) -> None:
        """Asks the chain, which answers from its own cache while that is fresh; not if ``stale`` is current no more.

        Raises:
            BulkcertError: No provider of the chain has credentials.
        """
        async with self._one_at_a_time:
            if stale is None or stale == self.current:
                try:
                    with anyio.fail_after(RENEW_WITHIN_S):
                        self.current = await anyio.to_thread.run_sync(self._resolve, abandon_on_cancel=True)
                except TimeoutError as error:
                    raise BulkcertError(
                        ExitStatus.DENIED,
                        f"no credentials: none of their providers answered within {RENEW_WITHIN_S:g} s",
                        "Check what provides them (a metadata server, a credentials URI, a command of a profile).",
                    ) from error

    def _resolve(self) -> Credentials:
        key = os.environ.get("ALIBABA_CLOUD_ACCESS_KEY_ID")
        secret = os.environ.get("ALIBABA_CLOUD_ACCESS_KEY_SECRET")
        if key and secret:
            return _checked(key, secret, os.environ.get("ALIBABA_CLOUD_SECURITY_TOKEN"), "env")
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
        return _checked(found.access_key_id, found.access_key_secret, found.security_token, found.provider_name or "")


CredentialProvider = FixedCredentials | ChainCredentials
"""Where the credentials of each call come from; ``current`` is what to sign with now."""


def _checked(key: str | None, secret: str | None, token: str | None, provider: str) -> Credentials:
    """Returns credentials that can be signed with; ``provider`` is the library's path, as in ``default/oidc_role_arn``.

    The profile that ALIBABA_CLOUD_PROFILE names is named; a link of the chain that is not known stays as it is.
    """
    source = _SOURCES.get(provider.removeprefix("default/").partition("/")[0], provider)
    if profile := os.environ.get("ALIBABA_CLOUD_PROFILE"):
        source = source.replace("a profile", f"the profile {profile}", 1)
    for text in (key, secret, token or "-"):
        if not (text and text.isascii() and text.isprintable() and text == text.strip()):
            raise BulkcertError(
                ExitStatus.DENIED,
                f"the credentials from {source} are empty or hold white space or characters that no key has",
                "Copy them again: often a blank, a line feed or an invisible character has come along.",
            )
    is_renewed = bool(token) and provider.rpartition("/")[2] not in _AS_TYPED
    return Credentials(key or "", secret or "", token or None, source, is_renewed)


_AS_TYPED = frozenset({"env", "static_sts"})
"""Links of the chain, by the library's names of them, whose token is what somebody has put there."""


_SOURCES = {
    "env": later("the environment"),
    "oidc_role_arn": later("an OIDC token"),
    "cli_profile": later("a profile of the aliyun command"),
    "profile": later("a profile of the credentials file"),
    "ecs_ram_role": later("the RAM role of this machine"),
    "credential_uri": later("a credentials URI"),
}
"""What people call the links of the chain, by the library's names of them."""


_LONG = re.compile(r"[\w+/=%~.-]{16,}")
_NAMES = ("Provider", ".ini", ".json")
"""How long words end that are no secrets: names of classes and of files."""


def _no_credentials(error: Exception) -> BulkcertError:
    # Some providers quote the answer, or the line of a file, that they could not use.
    reported = _LONG.sub(lambda found: found[0] if found[0].endswith(_NAMES) else "***", " ".join(str(error).split()))
    event("no_credentials", reported, logging.DEBUG)
    return BulkcertError(
        ExitStatus.DENIED,
        "no credentials found",
        "Set ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET, or use a profile of the aliyun command "
        "or a RAM role. -v names what each provider of the chain reports.",
        again=True,
    )
