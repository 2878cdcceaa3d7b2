"""Calls that steer and question the emulator itself: JSON under a path of their own, from loopback only."""

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from bulkcert.emulator.faults import FaultPlan
from bulkcert.emulator.gateway import Gateway
from bulkcert.emulator.messages import Answer, Request
from bulkcert.emulator.report import report
from bulkcert.emulator.service import connect
from bulkcert.emulator.settings import ACCOUNT, DeviceStatus
from bulkcert.emulator.state import AccessKey
from bulkcert.errors import BulkcertError

ADMIN_PATH = "/-/"

Milliseconds = int | Annotated[str, Meta(pattern=r"^-?[0-9]+$")]
"""Unix time in milliseconds, as a number or as the service spells it."""


class Connect(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``POST /-/connect``: a device connects with its certificate."""

    instance: str
    ca_sn: str
    device_sn: str
    device_name: str | None = None


class SeedRows(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``POST /-/seed``: certificates are added; rows are pairs of ``CaSn`` and ``DeviceSn``, an empty one for a CA."""

    instance: str
    rows: list[tuple[str, str]]
    status: DeviceStatus = "1"
    valid_begin: Milliseconds | None = None
    valid_end: Milliseconds | None = None


class Delete(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``POST /-/delete``: a device certificate is deleted; with an empty ``device_sn`` the CA with its devices."""

    instance: str
    ca_sn: str
    device_sn: str


class Instance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``POST /-/instance``: an instance is added, or given to another account."""

    id: str
    account: str = ACCOUNT


class KeyChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``POST /-/access-key``: an access key is added or changed; omitted fields stay as they are."""

    id: str
    secret: str | UnsetType = UNSET
    account: str | UnsetType = UNSET
    token: str | UnsetType | None = UNSET
    expires_at: float | UnsetType | None = UNSET
    enabled: bool | UnsetType = UNSET
    denied: frozenset[str] | UnsetType = UNSET


class Faults(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``POST /-/faults``: another plan of faults, from its start."""

    shares: dict[str, float]
    seed: int = 0


class Clock(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``POST /-/clock``: the emulator's clock is set so many seconds ahead of this machine's."""

    offset_s: float


def _connect(gateway: Gateway, body: Connect) -> object:
    accepted, registered, reason = connect(gateway.state, body.instance, body.ca_sn, body.device_sn, body.device_name)
    return {"accepted": accepted, "registered": registered, "reason": reason}


def _seed(gateway: Gateway, body: SeedRows) -> object:
    begin, end = (None if time is None else int(time) for time in (body.valid_begin, body.valid_end))
    gateway.state.seed(body.instance, body.rows, body.status, (begin, end))
    return {"rows": len(body.rows)}


def _delete(gateway: Gateway, body: Delete) -> object:
    if body.device_sn:
        deleted = gateway.state.delete_device(body.instance, body.ca_sn, body.device_sn)
    else:
        deleted = gateway.state.delete_ca(body.instance, body.ca_sn)
    return {"deleted": deleted}


def _instance(gateway: Gateway, body: Instance) -> object:
    gateway.state.put_instance(body.id, body.account)
    return {"id": body.id}


def _key(gateway: Gateway, body: KeyChange) -> object:
    known = gateway.state.access_key(body.id) or AccessKey(body.id, "")
    given = {name: value for name, value in msgspec.structs.asdict(body).items() if value is not UNSET}
    gateway.state.put_access_key(replace(known, **given))
    return {"id": body.id}


def _faults(gateway: Gateway, body: Faults) -> object:
    gateway.faults = FaultPlan(body.shares, body.seed)
    return body.shares


def _clock(gateway: Gateway, body: Clock) -> object:
    gateway.clock_offset_s = body.offset_s
    return {"offset_s": body.offset_s}


def _report(gateway: Gateway, _query: Mapping[str, str]) -> object:
    return report(gateway)


def _counts(gateway: Gateway, query: Mapping[str, str]) -> object:
    return gateway.state.counts(query["instance"])


def _states(gateway: Gateway, query: Mapping[str, str]) -> object:
    return gateway.state.states(query["instance"])


def _device(gateway: Gateway, query: Mapping[str, str]) -> object:
    return gateway.state.device(query["instance"], query["ca_sn"], query["device_sn"])


def _ca(gateway: Gateway, query: Mapping[str, str]) -> object:
    return gateway.state.ca(query["instance"], query["sn"])


_READS: Mapping[str, Callable[[Gateway, Mapping[str, str]], object]] = {
    "report": _report,
    "counts": _counts,
    "states": _states,
    "device": _device,
    "ca": _ca,
}
_CHANGES: Mapping[str, tuple[type[msgspec.Struct], Callable[[Gateway, Any], object]]] = {
    "connect": (Connect, _connect),
    "seed": (SeedRows, _seed),
    "delete": (Delete, _delete),
    "instance": (Instance, _instance),
    "access-key": (KeyChange, _key),
    "faults": (Faults, _faults),
    "clock": (Clock, _clock),
}


def administer(gateway: Gateway, request: Request) -> Answer:
    """Answers one admin call: 200 with its result, or 4xx with ``error``."""
    if not ipaddress.ip_address(request.address).is_loopback:
        return _json(403, {"error": "Admin calls are taken from loopback addresses only."})
    name = request.path.removeprefix(ADMIN_PATH)
    try:
        if request.method == "GET" and name in _READS:
            return _json(200, _READS[name](gateway, request.parameters()))
        if request.method == "POST" and name in _CHANGES:
            body, change = _CHANGES[name]
            return _json(200, change(gateway, msgspec.json.decode(request.body, type=body)))
    except KeyError as error:
        return _json(400, {"error": f"The query lacks {error.args[0]}."})
    except (msgspec.DecodeError, BulkcertError) as error:
        return _json(400, {"error": str(error)})
    return _json(404, {"error": f"There is no admin call {request.method} {request.path}."})


def _json(status: int, content: object) -> Answer:
    return Answer(status, msgspec.json.encode(content))
