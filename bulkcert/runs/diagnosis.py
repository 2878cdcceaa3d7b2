"""What a doctor finds, check after check: what a run would end with is what the check that fails ends with."""

import shutil
import tempfile
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

import msgspec

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.output.advice import Remedy
from bulkcert.output.files import cannot_write, reason_of
from bulkcert.runs.doctor import Examination
from bulkcert.runs.target import above_documented
from bulkcert.service.codes import CERTIFICATE_REFUSED, CLOCK_REFUSED, INSTANCE_REFUSED, READING_REFUSED, rule_for
from bulkcert.service.signing import Credentials
from bulkcert.store.database import is_on_network
from bulkcert.store.paths import RunFiles
from bulkcert.words import counted

CLOCK_WARNS_S = 60.0
"""A clock that is off by more is about to be wrong: the service refuses calls from 15 minutes on."""

LEAST_FREE = 10**9
"""Bytes that a run over a million rows fits into with ease."""


_MET = ("endpoint", "tls", "credentials", "clock", "instance")
"""Checks that a call passes, one after the other."""

_CONCERNS = dict.fromkeys(CLOCK_REFUSED, "clock") | dict.fromkeys(INSTANCE_REFUSED, "instance")
_CONCERNS |= {CERTIFICATE_REFUSED: "tls"}
"""The check that a code belongs to which stops every call."""

_NO_TLS = "not used: the endpoint is this machine"


class CheckResult(StrEnum):
    """What a check came to; after a failed one a run would not start, or not get far."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


class Diagnosis(msgspec.Struct, frozen=True):
    """What one check has found.

    Attributes:
        check: Its name, which stays.
        result: What it came to.
        found: The same in words.
        next: What to do; empty where there is nothing to do.
        exit_status: What a run would end with; 0 unless the check failed.
    """

    check: str
    result: CheckResult
    found: str
    next: str = ""
    exit_status: int = 0


def _warned(check: str, found: str, step: str) -> Diagnosis:
    return Diagnosis(check, CheckResult.WARNING, found, step)


def _failed(check: str, found: str, step: str, status: ExitStatus) -> Diagnosis:
    return Diagnosis(check, CheckResult.FAILED, found, step, int(status))


def _credentials(held: Credentials) -> Diagnosis:
    found = f"access key {held.access_key_id}, from {held.source or 'the default chain'}"
    if held.security_token is None:
        return Diagnosis("credentials", CheckResult.OK, f"{found}; they do not expire")
    if held.is_renewed:
        return Diagnosis("credentials", CheckResult.OK, f"{found}; temporary, renewed before they expire")
    return _warned("credentials", f"{found}; temporary, and nobody knows until when", Remedy.NOT_RENEWED)


def diagnoses(exam: Examination, credentials: Credentials | None, loop: str, *, is_fast: bool) -> Iterator[Diagnosis]:
    """Yields what each check has found; the first that failed is what a run would end with.

    Args:
        exam: Has made its calls.
        credentials: What was signed with; None where there are none.
        loop: What makes the calls.
        is_fast: Whether that is the loop that is meant.
    """
    failure = _failure(exam)
    reached = _MET[: _MET.index(failure.check)] if failure else _MET
    if credentials is None:
        denied = exam.denied or BulkcertError(ExitStatus.DENIED, "no credentials")
        yield _failed("credentials", denied.message, denied.advice, denied.status)
    else:
        yield failure if failure and failure.check == "credentials" else _credentials(credentials)
    times, target = [result.answer.latency_ms for result in exam.by_operation.values()], exam.target
    found_by_check = {
        "endpoint": f"{target.endpoint} answers{f' in {min(times):.0f} ms' if times else ''}",
        "tls": "the certificate is trusted" if target.endpoint.scheme == "https" else _NO_TLS,
        "instance": target.instance,
    }
    for check, found in found_by_check.items():
        if failure and failure.check == check:
            yield failure
        elif times and check in reached and (check != "instance" or True in exam.permissions.values()):
            yield Diagnosis(check, CheckResult.OK, found)
        else:
            yield _skipped(exam, check)
    yield failure if failure and failure.check == "clock" else _clock(exam)
    yield _permissions(exam)
    yield _addresses(exam)
    yield _limits(exam)
    yield _disk(exam)
    yield Diagnosis("loop", CheckResult.OK, loop) if is_fast else _warned("loop", loop, Remedy.LOOP_SLOW)


def _failure(exam: Examination) -> Diagnosis | None:
    """Returns the check that fails every call; None where calls were answered."""
    if (stop := exam.progress.stop) is not None:
        otherwise = "credentials" if stop.status is ExitStatus.DENIED else "endpoint"
        return _failed(_CONCERNS.get(stop.code, otherwise), stop.message, stop.advice, stop.status)
    for result in exam.by_operation.values():
        if not result.final:
            said = f"{result.answer.code}: {result.answer.message}"
            return _failed("endpoint", said, Remedy.UNANSWERED, ExitStatus.UNAVAILABLE)
    return None


def _skipped(exam: Examination, check: str) -> Diagnosis:
    if not exam.is_whole:
        return Diagnosis(check, CheckResult.SKIPPED, "no instance or no region is given", Remedy.NO_SERVICE)
    return Diagnosis(check, CheckResult.SKIPPED, "no call came so far")


def _clock(exam: Examination) -> Diagnosis:
    if (ahead := exam.clock_ahead_s) is None:
        return _skipped(exam, "clock")
    if abs(ahead) <= CLOCK_WARNS_S:
        return Diagnosis("clock", CheckResult.OK, f"within {max(2, round(abs(ahead)))} s of the service's")
    found = f"{abs(ahead):,.0f} s {'ahead of' if ahead > 0 else 'behind'} the service's"
    return _warned("clock", found, Remedy.CLOCK_OFF)


def _permissions(exam: Examination) -> Diagnosis:
    may = exam.permissions
    granted, refused = ([action for action in may if may[action] is each] for each in (True, False))
    if not granted and not refused:
        return _skipped(exam, "permissions")
    readable = f"to read: {', '.join(granted)}"
    if not refused:
        return Diagnosis("permissions", CheckResult.OK, readable)
    results = exam.by_operation.values()
    code = next(result.answer.code for result in results if result.answer.code in READING_REFUSED)
    rule = rule_for(code)
    step = f"{rule.advice.format(ram=' and '.join(refused))} {Remedy.READING_REFUSED}"
    if granted:
        return _warned("permissions", f"{readable}; refused: {', '.join(refused)}", step)
    return _failed("permissions", f"all reading is refused: {code}", step, rule.exit_status or ExitStatus.DENIED)


def _addresses(exam: Examination) -> Diagnosis:
    names = ", ".join(address or "the system's choice" for address in exam.target.addresses)
    results = {address or "": result.answer for address, result in exam.by_address.items()}
    if not any(answer.is_from_service for answer in results.values()):
        return _skipped(exam, "addresses")
    if silent := {address: answer for address, answer in results.items() if not answer.is_from_service}:
        found = "; ".join(f"{address}: {answer.message}" for address, answer in silent.items())
        return _failed("addresses", found, Remedy.ADDRESS_SILENT, ExitStatus.UNAVAILABLE)
    return Diagnosis("addresses", CheckResult.OK, names)


def _limits(exam: Examination) -> Diagnosis:
    options, addresses = exam.options, counted(len(exam.target.addresses), "address")
    found = f"{options.rate}/s for the account, {options.per_address_rate}/s for an address"
    found = f"{found}: {exam.target.rate:.0f}/s from {addresses}"
    if any(above_documented(options.rate, options.per_address_rate)):
        return _warned("limits", found, Remedy.LIMITS_RAISED)
    return Diagnosis("limits", CheckResult.OK, found)


def _disk(exam: Examination) -> Diagnosis:
    """Returns whether results and store can be written where a run would write them."""
    files = RunFiles((exam.options.results or Path("results.csv")).absolute(), exam.options.state_dir)
    store = files.folder.absolute().parent
    free = []
    for folder in (files.results.parent, store):
        try:
            with tempfile.TemporaryFile(dir=folder) as file:  # without a name: nothing is left of it
                file.write(b"0")
            free.append(shutil.disk_usage(folder).free)
        except OSError as error:
            advice = cannot_write(folder, error, folder_of=files if folder == store else None).advice
            found = f"{folder} cannot be written: {reason_of(error)}"
            return _failed("disk", found, advice, ExitStatus.CANNOT_WRITE)
    found = f"{store}: {min(free) / 1e9:,.1f} GB free"
    if min(free) < LEAST_FREE:
        return _warned("disk", found, Remedy.DISK_SMALL)
    if is_on_network(store):
        return _warned("disk", f"{found}, on another machine", Remedy.DISK_REMOTE)
    return Diagnosis("disk", CheckResult.OK, found)
