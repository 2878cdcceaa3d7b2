"""The thirteen operations (reference, section 1) behind the gateway, in the order of checks of section 1.4."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from bulkcert.emulator import certificates
from bulkcert.emulator.messages import Refusal
from bulkcert.emulator.settings import DeviceStatus, ListTotal
from bulkcert.emulator.state import AccessKey, CaCertificate, Registry
from bulkcert.service.operations import INSTANCE_ACCESS, Operation

SERIAL_BYTES = 128
"""Most bytes of a serial (section 10)."""

PAGE_SIZE = 100
"""Most certificates of one page (section 1.2)."""

PAGE_NO = 2**31 - 1
"""Highest page number, as nothing is documented: what fits the signed 32 bits of JSON's usual integers."""

_SERIALS = ("Sn", "CaSn", "DeviceSn")

Parameters = Mapping[str, str]
Handler = Callable[[Registry, Parameters], object]


@dataclass(frozen=True, slots=True)
class _Page:
    """One page of a list (section 1.2).

    Attributes:
        results: How many certificates the list has.
        number: Number of the page, from 1.
        size: Certificates of a page.
        field: Name of the field that holds the certificates.
        shown: The certificates of the page.
        documented: What the operation documents ``Total`` to be.
    """

    results: int
    number: int
    size: int
    field: Literal["CaCertificateVOS", "DeviceCertificateVOS"]
    shown: list[dict[str, str]]
    documented: Literal["results", "pages"]

    def fields(self, list_total: ListTotal) -> dict[str, object]:
        """Returns the page as the service shows it, with ``Total`` as it is asked for."""
        means = self.documented if list_total == "documented" else list_total
        total = {"results": self.results, "pages": -(-self.results // self.size), "zero": 0}[means]
        return {"Total": total, "PageNo": self.number, "PageSize": self.size, self.field: self.shown}


def perform(
    state: Registry, key: AccessKey, operation: Operation, parameters: Parameters, list_total: ListTotal = "documented"
) -> dict[str, object]:
    """Carries out one operation and returns the fields of its success body in addition to ``RequestId``.

    Args:
        state: What the emulator knows.
        key: Who calls.
        operation: What is asked for.
        parameters: The decoded query.
        list_total: What ``Total`` says in lists.

    Raises:
        Refusal: With the code of sections 1.3 and 1.3b.
    """
    _check_parameters(operation, parameters)
    _check_permission(key, operation)
    owner = state.owner(parameters["MqttInstanceId"])
    if owner is None:
        raise Refusal("MqttInstanceNotFound")
    if owner != key.account:
        raise Refusal("MqttOwnerCheckError")
    result = _HANDLERS[operation.name](state, parameters)
    return {operation.result: result.fields(list_total) if isinstance(result, _Page) else result}


def connect(
    state: Registry, instance: str, ca_sn: str, device_sn: str, device_name: str | None
) -> tuple[bool, bool, str]:
    """A device connects with its certificate (section 10): an unknown one under an active CA is registered, active.

    Returns:
        Whether it is accepted, whether it was registered by this connection, and the reason of a refusal.
    """
    ca = state.ca(instance, ca_sn)
    if ca is None:
        return False, False, "The CA certificate is not registered."
    if ca["Status"] != "1":
        return False, False, "The CA certificate is inactive."
    device = state.device(instance, ca_sn, device_sn)
    if device is None:
        state.add_device(instance, ca_sn, device_sn, device_name)
        return True, True, ""
    if device["Status"] != "1":
        return False, False, "The device certificate is inactive."
    return True, False, ""


def _check_parameters(operation: Operation, parameters: Parameters) -> None:
    for name in ("MqttInstanceId", *operation.parameters):
        value = parameters.get(name)
        if not value or (name in _SERIALS and len(value.encode()) > SERIAL_BYTES):
            raise Refusal("ParameterFieldCheckFailed")


def _check_permission(key: AccessKey, operation: Operation) -> None:
    if operation.ram_action in key.denied:
        raise Refusal("NoPermission", AccessDeniedDetail={"AuthAction": operation.ram_action})
    if operation.needs_instance_access and INSTANCE_ACCESS in key.denied:
        raise Refusal("PermissionCheckFailed")


def _register_ca(state: Registry, parameters: Parameters) -> str:
    instance = parameters["MqttInstanceId"]
    ca = certificates.ca_certificate(parameters["CaContent"])
    code = certificates.register_code(parameters["VerificationContent"], ca)
    used = state.code_used(instance, code)
    if used is None:
        raise Refusal("RegisterCodeError")
    if used:
        raise Refusal("RegisterCodeUsed")
    sn = certificates.serial(ca)
    added = state.add_ca(
        CaCertificate(
            instance,
            sn,
            parameters["CaName"],
            parameters["CaContent"],
            parameters["VerificationContent"],
            code,
            certificates.milliseconds(ca.not_valid_before_utc),
            certificates.milliseconds(ca.not_valid_after_utc),
        )
    )
    if not added:
        raise Refusal("SnNotUnique")
    return sn


def _get_register_code(state: Registry, parameters: Parameters) -> str:
    return state.register_code(parameters["MqttInstanceId"])


def _get_ca(state: Registry, parameters: Parameters) -> dict[str, str]:
    found = state.ca(parameters["MqttInstanceId"], parameters["Sn"])
    if found is None:
        raise Refusal("FindCaBySnError")
    return found


def _set_ca(status: DeviceStatus) -> Handler:
    def handler(state: Registry, parameters: Parameters) -> str:
        if not state.set_ca_status(parameters["MqttInstanceId"], parameters["Sn"], status):
            raise Refusal("FindCaBySnError")
        return parameters["Sn"]

    return handler


def _delete_ca(state: Registry, parameters: Parameters) -> str:
    if not state.delete_ca(parameters["MqttInstanceId"], parameters["Sn"]):
        raise Refusal("FindCaBySnError")
    return parameters["Sn"]


def _get_device(state: Registry, parameters: Parameters) -> dict[str, str]:
    found = state.device(parameters["MqttInstanceId"], parameters["CaSn"], parameters["DeviceSn"])
    if found is None:
        raise Refusal("FindDeviceBySnError")
    return found


def _set_device(status: DeviceStatus) -> Handler:
    def handler(state: Registry, parameters: Parameters) -> str:
        serials = (parameters["MqttInstanceId"], parameters["CaSn"], parameters["DeviceSn"])
        if not state.set_device_status(*serials, status):
            raise Refusal("FindDeviceBySnError")
        return parameters["DeviceSn"]

    return handler


def _delete_device(state: Registry, parameters: Parameters) -> str:
    if not state.delete_device(parameters["MqttInstanceId"], parameters["CaSn"], parameters["DeviceSn"]):
        raise Refusal("FindDeviceBySnError")
    return parameters["DeviceSn"]


def _page(parameters: Parameters) -> tuple[int, int]:
    """Returns number and size of the page asked for (section 1.2)."""
    try:
        number, size = int(parameters["PageNo"]), int(parameters["PageSize"])
    except ValueError as error:
        raise Refusal("ParameterFieldCheckFailed") from error
    if not (1 <= number <= PAGE_NO and 1 <= size <= PAGE_SIZE):
        raise Refusal("ParameterFieldCheckFailed")
    return number, size


def _list_cas(state: Registry, parameters: Parameters) -> _Page:
    number, size = _page(parameters)
    results, shown = state.cas(parameters["MqttInstanceId"], number, size)
    return _Page(results, number, size, "CaCertificateVOS", shown, "pages")


def _list_devices(state: Registry, parameters: Parameters) -> _Page:
    number, size = _page(parameters)
    results, shown = state.devices(parameters["MqttInstanceId"], number, size)
    return _Page(results, number, size, "DeviceCertificateVOS", shown, "pages")


def _list_devices_of_ca(state: Registry, parameters: Parameters) -> _Page:
    number, size = _page(parameters)
    instance, ca_sn = parameters["MqttInstanceId"], parameters["CaSn"]
    if state.ca(instance, ca_sn) is None:
        # The older page lists this code for the operation, and none that names the CA (section 1.3).
        raise Refusal("FindDeviceBySnError")
    results, shown = state.devices_of(instance, ca_sn, number, size)
    return _Page(results, number, size, "DeviceCertificateVOS", shown, "results")


_HANDLERS: Mapping[str, Handler] = {
    "RegisterCaCertificate": _register_ca,
    "GetRegisterCode": _get_register_code,
    "ListCaCertificate": _list_cas,
    "GetCaCertificate": _get_ca,
    "ActiveCaCertificate": _set_ca("1"),
    "InactivateCaCertificate": _set_ca("0"),
    "DeleteCaCertificate": _delete_ca,
    "ListDeviceCertificate": _list_devices,
    "ListDeviceCertificateByCaSn": _list_devices_of_ca,
    "GetDeviceCertificate": _get_device,
    "ActiveDeviceCertificate": _set_device("1"),
    "InactivateDeviceCertificate": _set_device("0"),
    "DeleteDeviceCertificate": _delete_device,
}
