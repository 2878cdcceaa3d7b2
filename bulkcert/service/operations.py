"""The thirteen certificate operations of the service as one table (reference, section 1)."""

import msgspec

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

INSTANCE_ID = r"[A-Za-z0-9_-]+"
"""What the ID of an instance is made of; nothing else is documented of it (reference, section 10)."""

REGIONS: tuple[str, ...] = (
    "ap-northeast-1",
    "ap-southeast-1",
    "ap-southeast-3",
    "ap-southeast-5",
    "ap-southeast-6",
    "cn-beijing",
    "cn-chengdu",
    "cn-guangzhou",
    "cn-hangzhou",
    "cn-hangzhou-finance",
    "cn-heyuan-acdr-1",
    "cn-hongkong",
    "cn-huhehaote",
    "cn-qingdao",
    "cn-shanghai",
    "cn-shanghai-finance-1",
    "cn-shenzhen",
    "cn-shenzhen-finance-1",
    "cn-wulanchabu",
    "cn-zhangjiakou",
    "eu-central-1",
    "eu-west-1",
    "me-central-1",
    "mq-internet-access",
    "us-east-1",
    "us-west-1",
)
"""Regions that have an endpoint (reference, section 3)."""

PUBLIC_ONLY_REGIONS = frozenset({"mq-internet-access"})
"""Regions without a VPC endpoint (reference, section 3)."""


def region_host(region: str, *, vpc: bool) -> str:
    """Returns the host of the service in a region (reference, section 3)."""
    return f"onsmqtt{'-vpc' if vpc else ''}.{region}.aliyuncs.com"
