"""Calls that did not succeed at once: named in the log, and why a run ends that gets nothing else."""

import logging

from bulkcert.engine.progress import Stop
from bulkcert.errors import ExitStatus
from bulkcert.log import event
from bulkcert.service.client import Response
from bulkcert.service.codes import CERTIFICATE_REFUSED, INSTANCE_REFUSED, rule_for
from bulkcert.service.operations import INSTANCE_ACCESS, Operation

_ONE_OF_SEVERAL = (
    "Correct the instance or the region in the rows of the list, or take these rows out; another list wants other "
    "results (-o)."
)


def report(answer: Response) -> None:
    """Names a call that did not succeed at once, to whoever wants to know (-v)."""
    event(
        "api_error",
        f"{answer.code}, request {answer.request_id or 'unknown'}: {answer.message}",
        logging.DEBUG,
        code=answer.code,
        request_id=answer.request_id,
        http_status=answer.http_status,
        latency_ms=answer.latency_ms,
    )


def refusal(answer: Response, operation: Operation) -> Stop:
    """Returns why a run ends whose calls are all refused like this one."""
    if answer.code == CERTIFICATE_REFUSED:
        advice = "Check the endpoint; the certificate that it shows is not trusted by this machine."
        return Stop(ExitStatus.UNAVAILABLE, f"{answer.code}: {answer.message}", advice, answer.code)
    rule = rule_for(answer.code)
    said = f"{answer.code} (HTTP {answer.http_status}, request {answer.request_id or 'unknown'}): {answer.message}"
    ram = f"{operation.ram_action}{f' and {INSTANCE_ACCESS}' if operation.needs_instance_access else ''}"
    return Stop(rule.exit_status or ExitStatus.INTERNAL, said, rule.advice.format(ram=ram), answer.code)


def refused_by_one(stop: Stop, instance: str) -> Stop:
    """Returns the same where it is one of several instances that refuses.

    Args:
        stop: Why a run ends.
        instance: Which it is, to be read before the reason.
    """
    advice = _ONE_OF_SEVERAL if stop.code in INSTANCE_REFUSED else stop.advice
    return Stop(stop.status, f"{instance}{stop.message}", advice, stop.code)
