"""What is said of connections and credentials: in the words of people, not of the libraries underneath."""

import errno
import socket

import pytest

from bulkcert.service.classification import classify_failure
from bulkcert.service.credentials import _checked
from bulkcert.service.transport import NotSent

REASONS = {
    "connection refused": OSError(errno.ECONNREFUSED, "Connect call failed ('127.0.0.1', 1)"),
    "network is unreachable": OSError(errno.ENETUNREACH, "Connect call failed ('127.0.0.1', 1)"),
    "nobody answers in time": TimeoutError(),
    "Name or service not known": socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
}


@pytest.mark.parametrize("reason", REASONS)
def test_connections(reason):
    """A connection that does not come about is told by host, port and the system's reason."""
    classification = classify_failure(NotSent("127.0.0.1:1", REASONS[reason]))

    assert classification.message == f"cannot connect to 127.0.0.1:1: {reason}"


@pytest.mark.parametrize(
    ("provider", "told", "profile"),
    [
        ("default/env", "the environment", ""),
        ("default/env", "the environment", "ops"),
        ("default/cli_profile/static_ak", "a profile of the aliyun command", ""),
        ("default/cli_profile/static_ak", "the profile ops of the aliyun command", "ops"),
        ("default/profile/ram_role_arn/static_ak", "a profile of the credentials file", ""),
        ("default/ecs_ram_role", "the RAM role of this machine", ""),
        ("default/brand_new", "default/brand_new", ""),
        ("", "", ""),
    ],
)
def test_sources_of_credentials(provider, told, profile, monkeypatch):
    """Where they come from is told in words, with the profile that the environment chooses; other names stay."""
    monkeypatch.setenv("ALIBABA_CLOUD_PROFILE", profile)

    assert _checked("id", "secret", None, provider).source == told
