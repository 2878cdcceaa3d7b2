"""Certificates as the service shows them, and pages of them (reference, sections 1.1 and 1.2)."""

from enum import StrEnum

import msgspec

JOINT = "\x1f"
"""Joins the parts of a key; no valid serial has a control character, so that it is unambiguous."""

PAGE_SIZE = 100
"""Certificates that one page holds at most (reference, section 1.2)."""


MOST_DIGITS = 9
"""Digits of a number that is read at all."""


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


_STATUS_OF = {"0": Status.INACTIVE, "1": Status.ACTIVE}


class Certificate(msgspec.Struct, frozen=True):
    """A device certificate, or where ``device_sn`` is empty a CA certificate; PEM texts are ignored.

    Attributes:
        device_sn: Serial of the device certificate.
        ca_sn: Serial of the CA that issued it.
        sn: Serial of a CA certificate.
        device_name: Name of the device certificate.
        ca_name: Name of the CA certificate.
        valid_begin: Unix time in milliseconds, as text.
        valid_end: Unix time in milliseconds, as text.
        raw_status: ``"0"`` inactive, ``"1"`` active.
    """

    device_sn: str = msgspec.field(name="DeviceSn", default="")
    ca_sn: str = msgspec.field(name="CaSn", default="")
    sn: str = msgspec.field(name="Sn", default="")
    device_name: str | None = msgspec.field(name="DeviceName", default=None)
    ca_name: str | None = msgspec.field(name="CaName", default=None)
    valid_begin: str | int | None = msgspec.field(name="ValidBegin", default=None)
    valid_end: str | int | None = msgspec.field(name="ValidEnd", default=None)
    raw_status: str | int | None = msgspec.field(name="Status", default=None)

    @property
    def status(self) -> Status:
        """Its state."""
        return _STATUS_OF.get(str(self.raw_status), Status.UNRECOGNIZED)


class Page(msgspec.Struct, frozen=True):
    """One page of a listing, or the one certificate that was asked for.

    Attributes:
        certificates: What it holds, in the service's order.
        total: What the service says of the whole; not to be trusted (reference, section 1.2).
    """

    certificates: list[Certificate]
    total: int = 0


class _Listed(msgspec.Struct, frozen=True):
    total: int | str | None = msgspec.field(name="Total", default=None)
    cas: list[Certificate] | None = msgspec.field(name="CaCertificateVOS", default=None)
    devices: list[Certificate] | None = msgspec.field(name="DeviceCertificateVOS", default=None)


class _ListReply(msgspec.Struct, frozen=True):
    data: _Listed = msgspec.field(name="Data")


class _GetReply(msgspec.Struct, frozen=True):
    data: Certificate = msgspec.field(name="Data")


_decode_list = msgspec.json.Decoder(_ListReply).decode
_decode_get = msgspec.json.Decoder(_GetReply).decode


def decode_page(content: bytes, *, is_list: bool) -> Page:
    """Returns what the success body of a reading operation holds; an absent array is an empty page.

    Raises:
        msgspec.DecodeError: It has no ``Data``, or not of this shape.
        UnicodeDecodeError: It is not UTF-8.
    """
    if not is_list:
        return Page([_decode_get(content).data])
    data = _decode_list(content).data
    total = str(data.total)
    is_number = total.isascii() and total.isdigit() and len(total) <= MOST_DIGITS
    return Page(data.cas or data.devices or [], int(total) if is_number else 0)
