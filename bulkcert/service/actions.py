"""The five actions as one table: what each calls, what it wants, and whether it may be repeated."""

from typing import Literal

import msgspec

from bulkcert.service.certificates import Status
from bulkcert.service.operations import OPERATIONS, Operation
from bulkcert.words import later

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
