"""What the service offers and what is asked of it: the thirteen operations and the five actions, one table each."""

from enum import StrEnum
from typing import Literal

import msgspec

from bulkcert.words import later

VERSION = "2020-04-20"
"""API version, sent as ``x-acs-version`` (reference, section 4)."""

INSTANCE_ACCESS = "mq:MqttInstanceAccess"
"""RAM action that nearly every operation needs in addition to its own (reference, section 1, RAM)."""


class Operation(msgspec.Struct, frozen=True):
    """One operation: all parameters are strings, required, and sent in the query.

    Attributes:
        name: Value of ``x-acs-action``.
        method: HTTP method that the vendor's SDK uses; operations that change state also accept GET.
        parameters: Names of the request parameters in addition to ``MqttInstanceId``.
        result: Name of the field of the success body in addition to ``RequestId``.
        ram_action: RAM action that permits it.
        needs_instance_access: Whether it also needs ``mq:MqttInstanceAccess``.
    """

    name: str
    method: str
    parameters: tuple[str, ...]
    result: str
    ram_action: str
    needs_instance_access: bool = True

    @property
    def reads(self) -> bool:
        """Whether it shows certificates and changes nothing."""
        return self.result == "Data"


_DEVICE = ("CaSn", "DeviceSn")
_PAGE = ("PageNo", "PageSize")

OPERATIONS: dict[str, Operation] = {
    operation.name: operation
    for operation in (
        Operation(
            "RegisterCaCertificate", "POST", ("CaName", "CaContent", "VerificationContent"), "Sn", "mq:RegisterCa"
        ),
        Operation("GetRegisterCode", "GET", (), "RegisterCode", "mq:GetRegisterCode"),
        Operation("ListCaCertificate", "GET", _PAGE, "Data", "mq:ListCaCertificate"),
        Operation("GetCaCertificate", "GET", ("Sn",), "Data", "mq:GetCaCertificate"),
        Operation("ActiveCaCertificate", "POST", ("Sn",), "Sn", "mq:ActiveCaCertificate"),
        Operation("InactivateCaCertificate", "POST", ("Sn",), "Sn", "mq:UnregisterCaCertificate"),
        Operation("DeleteCaCertificate", "POST", ("Sn",), "Sn", "mq:DeleteCaCertificate"),
        Operation("ListDeviceCertificate", "GET", _PAGE, "Data", "mq:ListDeviceCertificate"),
        Operation("ListDeviceCertificateByCaSn", "GET", ("CaSn", *_PAGE), "Data", "mq:ListDeviceCertificateByCaSn"),
        Operation("GetDeviceCertificate", "GET", _DEVICE, "Data", "mq:GetDeviceCertificate"),
        Operation("ActiveDeviceCertificate", "POST", _DEVICE, "DeviceSn", "mq:ActiveDeviceCertificate"),
        Operation(
            "InactivateDeviceCertificate",
            "POST",
            _DEVICE,
            "DeviceSn",
            "mq:UnregisterDeviceCertificate",
            needs_instance_access=False,
        ),
        Operation("DeleteDeviceCertificate", "POST", _DEVICE, "DeviceSn", "mq:DeleteDeviceCertificate"),
    )
}

JOINT = "\x1f"
"""Joins the parts of a key; no valid serial has a control character, so that it is unambiguous."""

PAGE_SIZE = 100
"""Certificates that one page holds at most (reference, section 1.2)."""


def ca_key(ca_sn: str, instance: str) -> str:
    """Returns the key of a CA: its serial, and behind it its instance where a list names several."""
    return f"{ca_sn}{JOINT}{instance}" if instance else ca_sn


def of_ca_key(key: str) -> tuple[str, str]:
    """Returns the serial of a CA, and its instance; an empty text where a list has but one."""
    ca_sn, _, instance = key.partition(JOINT)
    return ca_sn, instance


class Status(StrEnum):
    """State of a certificate as it was read."""

    ACTIVE = "active"
    INACTIVE = "inactive"
    NOT_REGISTERED = "not_registered"
    """The service knows no such certificate."""
    UNRECOGNIZED = "unrecognized"
    """The service gave a status that the reference does not list."""


ActionName = Literal["inactivate-device", "activate-device", "inactivate-ca", "activate-ca", "delete-ca"]


class Action(msgspec.Struct, frozen=True):
    """What is asked for each row.

    Attributes:
        name: The name on the command line and in results; never changes.
        operation: The operation called, once for each distinct certificate.
        by_device: Whether a row is a device certificate (``DeviceSn`` and ``CaSn``); else a CA (``CaSn`` or ``Sn``).
        desired: State of the certificate after success.
        inverse: Name of the action that undoes it, or None; nothing else follows from there being none.
        cascades: What it does to every device certificate registered under the CA, as a verb; empty for nothing.
        repeatable: Whether a repeated call does no harm and succeeds again (reference, section 8.2).
        verb: What it does, in words, for plans and questions.
        by_ca: Name of the action on a CA that means the same for every device under it; empty for none.
    """

    name: ActionName
    operation: Operation
    by_device: bool
    desired: Literal["active", "inactive", "deleted"]
    verb: str
    inverse: ActionName | None = None
    repeatable: bool = True
    cascades: Literal["", "deletes", "refuses"] = ""
    by_ca: ActionName | Literal[""] = ""

    @property
    def listing(self) -> Operation:
        """The operation that lists certificates of this kind: device certificates by CA, or CAs."""
        return OPERATIONS["ListDeviceCertificateByCaSn" if self.by_device else "ListCaCertificate"]

    @property
    def reading(self) -> Operation:
        """The operation that reads one certificate of this kind; its query is that of the action."""
        return OPERATIONS["GetDeviceCertificate" if self.by_device else "GetCaCertificate"]

    @property
    def before(self) -> Literal["active", "inactive"]:
        """The state of what needs it."""
        return "inactive" if self.desired == "active" else "active"

    @property
    def deletes(self) -> bool:
        """Whether what it is done to is gone afterwards."""
        return self.desired == "deleted"

    @property
    def desired_status(self) -> Status:
        """The status of a certificate that needs no call any more."""
        return Status.NOT_REGISTERED if self.deletes else Status(self.desired)

    def parameters(self, instance: str, device_sn: str, ca_sn: str) -> dict[str, str]:
        """Returns the query of one call, names in alphabetical order as the signature wants them."""
        if self.by_device:
            return {"CaSn": ca_sn, "DeviceSn": device_sn, "MqttInstanceId": instance}
        return {"MqttInstanceId": instance, "Sn": ca_sn}


ACTIONS: dict[str, Action] = {
    action.name: action
    for action in (
        Action(
            "inactivate-device",
            OPERATIONS["InactivateDeviceCertificate"],
            by_device=True,
            desired="inactive",
            inverse="activate-device",
            verb=later("switch off device certificates"),
            by_ca="inactivate-ca",
        ),
        Action(
            "activate-device",
            OPERATIONS["ActiveDeviceCertificate"],
            by_device=True,
            desired="active",
            inverse="inactivate-device",
            verb=later("switch on device certificates"),
        ),
        Action(
            "inactivate-ca",
            OPERATIONS["InactivateCaCertificate"],
            by_device=False,
            desired="inactive",
            inverse="activate-ca",
            verb=later("switch off CA certificates"),
            cascades="refuses",
        ),
        Action(
            "activate-ca",
            OPERATIONS["ActiveCaCertificate"],
            by_device=False,
            desired="active",
            inverse="inactivate-ca",
            verb=later("switch on CA certificates"),
        ),
        Action(
            "delete-ca",
            OPERATIONS["DeleteCaCertificate"],
            by_device=False,
            desired="deleted",
            repeatable=False,
            verb=later("delete CA certificates, and with each every device certificate registered under it"),
            cascades="deletes",
        ),
    )
}
