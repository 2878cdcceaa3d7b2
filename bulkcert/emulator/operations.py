"""The thirteen operations (reference, section 1) behind the gateway, in the order of checks of section 1.4."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from cryptography import x509

from bulkcert.emulator.messages import Refusal
from bulkcert.emulator.registry import CAS, DEVICES, KINDS, CertificateKind, Registry
from bulkcert.emulator.settings import ListTotal
from bulkcert.emulator.verify import AccessKey
from bulkcert.service.actions import INSTANCE_ACCESS, PAGE_SIZE, Operation

SERIAL_BYTES = 128
"""Most bytes of a serial (section 10)."""

PAGE_NO = 2**31 - 1
"""Highest page number, as nothing is documented: what fits the signed 32 bits of JSON's usual integers."""

_SERIALS = ("Sn", "CaSn", "DeviceSn")


def perform(
    registry: Registry,
    key: AccessKey,
    operation: Operation,
    parameters: Mapping[str, str],
    list_total: ListTotal = "documented",
) -> dict[str, object]:
    """Carries out one operation and returns the fields of its success body in addition to ``RequestId``.

    Args:
        registry: What the emulator knows.
        key: Who calls.
        operation: What is asked for.
        parameters: The decoded query.
        list_total: What ``Total`` says in lists.

    Raises:
        Refusal: With the code of sections 1.3 and 1.3b.
    """
    values = [parameters.get(name, "") for name in ("MqttInstanceId", *operation.parameters)]
    serials = [parameters.get(name, "") for name in _SERIALS if name in operation.parameters]
    if not all(values) or any(len(serial.encode()) > SERIAL_BYTES for serial in serials):
        raise Refusal("ParameterFieldCheckFailed")
    if operation.ram_action in key.denied:
        raise Refusal("NoPermission", AccessDeniedDetail={"AuthAction": operation.ram_action})
    if operation.needs_instance_access and INSTANCE_ACCESS in key.denied:
        raise Refusal("PermissionCheckFailed")
    owner = registry.owner(values[0])
    if owner is None:
        raise Refusal("MqttInstanceNotFound")
    if owner != key.account:
        raise Refusal("MqttOwnerCheckError")
    if operation.name in _LISTS:
        return {"Data": _page(registry, operation.name, values, list_total)}
    found = _HANDLERS[operation.name](registry, *values)
    if not found:
        raise Refusal(KINDS[len(values)].missing)
    return {operation.result: values[-1] if found is True else found}  # what was changed is echoed


def _page(registry: Registry, name: str, values: list[str], list_total: ListTotal) -> dict[str, object]:
    """Returns a page of a list as the service shows it (section 1.2)."""
    kind, field, documented = _LISTS[name]
    *scope, number_, size_ = values
    try:
        number, size = int(number_), int(size_)
    except ValueError as error:
        raise Refusal("ParameterFieldCheckFailed") from error
    if not (1 <= number <= PAGE_NO and 1 <= size <= PAGE_SIZE):
        raise Refusal("ParameterFieldCheckFailed")
    if len(scope) == len(CAS.key) and registry.certificate(*scope) is None:
        # The older page lists this code for the operation, and none that names the CA (section 1.3).
        raise Refusal(DEVICES.missing)
    results, shown = registry.page(kind, tuple(scope), number, size)
    means = documented if list_total == "documented" else list_total
    total = {"results": results, "pages": -(-results // size), "zero": 0}[means]
    return {"Total": total, "PageNo": number, "PageSize": size, field: shown}


def _register_ca(registry: Registry, instance: str, name: str, content: str, verification: str) -> str:
    """Registers a CA; that the verification certificate proves possession of its key is not checked."""
    try:
        ca = x509.load_pem_x509_certificate(content.encode())
    except ValueError as error:
        raise Refusal("CertificateContentError") from error
    number = ca.serial_number
    # Lower-case hexadecimal of whole bytes, so that a leading zero is kept (section 1.1).
    sn = number.to_bytes(max(1, (number.bit_length() + 7) // 8), "big").hex()
    begin, end = (str(int(at.timestamp() * 1000)) for at in (ca.not_valid_before_utc, ca.not_valid_after_utc))
    fields = {"Sn": sn, "CaName": name, "CaContent": content, "VerificationContent": verification}
    if not registry.register_ca(instance, fields | {"ValidBegin": begin, "ValidEnd": end}):
        raise Refusal("SnNotUnique")
    return sn


_HANDLERS: Mapping[str, Callable[..., Any]] = {
    "RegisterCaCertificate": _register_ca,
    "GetRegisterCode": Registry.register_code,
    "GetCaCertificate": Registry.certificate,
    "ActiveCaCertificate": partial(Registry.set_status, status="1"),
    "InactivateCaCertificate": partial(Registry.set_status, status="0"),
    "DeleteCaCertificate": Registry.delete,
    "GetDeviceCertificate": Registry.certificate,
    "ActiveDeviceCertificate": partial(Registry.set_status, status="1"),
    "InactivateDeviceCertificate": partial(Registry.set_status, status="0"),
    "DeleteDeviceCertificate": Registry.delete,
}
"""What is done, with the parameters in the order of the table of operations; nothing returned is "not found"."""

_LISTS: Mapping[str, tuple[CertificateKind, str, ListTotal]] = {
    "ListCaCertificate": (CAS, "CaCertificateVOS", "pages"),
    "ListDeviceCertificate": (DEVICES, "DeviceCertificateVOS", "pages"),
    "ListDeviceCertificateByCaSn": (DEVICES, "DeviceCertificateVOS", "results"),
}
"""Of each list: what it shows, in which field, and what it documents ``Total`` to be."""
