"""Where the service is: its regions and instances (reference, sections 3 and 10)."""

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


def same_service(endpoint: str, other: str) -> bool:
    """Returns whether two endpoints lead to one service: a region's two hosts, public and VPC, do."""
    return endpoint.replace("//onsmqtt-vpc.", "//onsmqtt.") == other.replace("//onsmqtt-vpc.", "//onsmqtt.")
