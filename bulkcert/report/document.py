"""What a report says, and in which order: its figures in words, once for a page, a text and Markdown alike."""

from collections.abc import Iterator
from typing import Literal

import msgspec

from bulkcert.output.advice import meaning_of
from bulkcert.report.figures import Controlled, Figures, Finding, Headline, Sample, SessionFigures
from bulkcert.store.outcome import Outcome
from bulkcert.store.schema import ChangeRecord
from bulkcert.views.change import change_rows
from bulkcert.words import REHEARSAL, clock, counted, faults, length, printable, spaced

Kinds = dict[str, Literal["text", "number", "serial"]]
"""The columns of a table by name, and what stands in each."""


class TextTable(msgspec.Struct, frozen=True):
    """A table; ``total`` is its last row, or empty."""

    columns: Kinds
    rows: list[list[str]]
    total: list[str] = []


class Section(msgspec.Struct, frozen=True):
    """A section: what is said, facts by name, charts by name, a table, and what is said below it.

    Attributes:
        title: Its heading.
        words: Paragraphs; those that begin with an arrow say what to do.
        facts: Names and values.
        charts: Names of the charts, which only a page has.
        table: The table.
        after: Said below the table.
        is_part: Whether it belongs to the section before it.
    """

    title: str
    words: list[str] = []
    facts: list[tuple[str, str]] = []
    charts: tuple[str, ...] = ()
    table: TextTable | None = None
    after: str = ""
    is_part: bool = False


class Document(msgspec.Struct, frozen=True):
    """A report as it is read: first what came of it, and what to do; ``tiles`` are name, value and detail.

    Commands in the words of sections are between backquotes.
    """

    title: str
    verdict: Headline
    tiles: list[tuple[str, str, str]]
    tiles_note: str
    sections: list[Section]
    footer: str


_CONNECTED = " A device that was connected may stay connected until it connects again."


def document_of(figures: Figures, *, samples: int) -> Document:
    """Returns what is said of a run; what is not in the desired state comes second, with so many rows of each kind."""
    asked, verdict = figures.asked, figures.verdict
    rehearsal = f"{REHEARSAL}: " * asked.rehearsal
    sections = [Section("What to do next", [f"→ {step}" for step in verdict.steps])] if verdict.steps else []
    sections += [*_findings(figures, samples), _outcomes(figures), *_read_back(figures), *_cas(figures)]
    sections += [_calls(figures), *_changes(figures), _asked(figures), _sessions(figures)]
    return Document(
        title=f"{rehearsal}{asked.action} on {_message(asked.instance)}, {clock(figures.containment.since)}",
        verdict=msgspec.structs.replace(verdict, notes=[_message(note) for note in verdict.notes]),
        # What was undone took no time until it was done.
        tiles=[] if figures.certificates.is_undone else list(_tiles(figures)),
        tiles_note=f"Time until so many certificates were {figures.action.desired}, from the start of the run, by the "
        "outcomes of its calls; those that were so before count from when that was read."
        + _CONNECTED
        * (figures.action.desired == "inactive"),
        sections=sections,
        footer=f"Made {clock(figures.made)} by bulkcert {figures.made_by} from the store of "
        f"{_message(figures.results.path)}; the run was made by {asked.version}.",
    )


def _tiles(figures: Figures) -> Iterator[tuple[str, str, str]]:
    shown, desired = figures.containment, figures.action.desired
    for stone in shown.milestones:
        names = {"first": f"First {desired}", "last": f"Last of {shown.reached:,}"}
        name = names.get(stone.name, f"{stone.name.capitalize()} of the list")
        if stone.after_s is None:
            yield name, "not reached", f"{stone.certificates:,} needed, {shown.reached:,} reached"
        else:
            yield name, length(stone.after_s), clock(stone.at)


def _findings(figures: Figures, samples: int) -> Iterator[Section]:
    if figures.findings:
        rows = sum(each.rows for each in figures.findings)
        every = f" All of them, with what to do about each: {_message(figures.failed)}" if figures.failed else ""
        yield Section("What is not in the desired state", [f"{counted(rows, 'row')}.{every}"])
    for finding in figures.findings:
        named = finding.samples[:samples]
        more = finding.rows - len(named)
        yield Section(
            _name(finding),
            [_message(finding.meaning), f"→ {finding.advice}"],
            table=_samples(named, finding.meaning, by_device=figures.action.by_device),
            after=f"and {more:,} more in the {'failed rows' if figures.failed else 'results'}" if more else "",
            is_part=True,
        )


def _name(finding: Finding) -> str:
    why = f"read back as {finding.read_back}" if finding.read_back else _serial(finding.code) if finding.code else ""
    return f"{finding.rows:,} {finding.outcome} {'maybe undone' if finding.maybe_undone else why}".rstrip()


def _samples(samples: list[Sample], meaning: str, *, by_device: bool) -> TextTable:
    has_words = any(each.message not in ("", meaning) for each in samples)
    columns: Kinds = {"Row": "number", "DeviceSn": "serial", "CaSn": "serial", "HTTP": "text", "Request id": "serial"}
    columns |= {"Message": "text"} if has_words else {}
    if not by_device:
        del columns["DeviceSn"]

    def row(each: Sample) -> list[str]:
        device = [_serial(each.device_sn) or "(blank)"] if by_device else []
        answer = [str(each.http_status or "—"), _serial(each.request_id) or "—"]
        message = [_message(each.message) or "—"] if has_words else []
        return [f"{each.row:,}", *device, _serial(each.ca_sn) or "(blank)", *answer, *message]

    return TextTable(columns, [row(each) for each in samples])


_IN_DESIRED_STATE = {
    Outcome.SUCCEEDED: "yes",
    Outcome.UNCHANGED: "yes",
    Outcome.UNKNOWN: "unknown",
    Outcome.DUPLICATE: "as that row",
}
"""Whether a row with this outcome is; ``no`` for the others."""


def _outcomes(figures: Figures) -> Section:
    columns: Kinds = {"Outcome": "serial", "Rows": "number", "Share": "number"}
    columns |= {"In the desired state": "text", "Meaning": "text"}
    rows = []
    for outcome, count in zip(map(Outcome, figures.outcomes), figures.outcomes.values(), strict=True):
        share = _share(count / figures.asked.rows)
        rows.append([outcome, f"{count:,}", share, _IN_DESIRED_STATE.get(outcome, "no"), meaning_of(outcome)])
    ended = [("Exit status", f"{figures.exit_status}: {_message(figures.exit_meaning)}")]
    total = ["All rows", f"{figures.asked.rows:,}", "", "", ""]
    return Section(
        "Outcomes", facts=ended if figures.exit_status is not None else [], table=TextTable(columns, rows, total)
    )


def _read_back(figures: Figures) -> Iterator[Section]:
    if (read := figures.verified) is None:
        return
    when = f"From {clock(read.first)} to {clock(read.last)}"
    said = f"The last verification ended {clock(read.finished)}" if read.finished else when
    said += f", in {counted(read.calls, 'call')}" if read.finished else ""
    if read.called_again:
        said += f"; {read.called_again:,} {'was' if read.called_again == 1 else 'were'} found in another state and "
        said += "called again"
    stopped = f" Ended early, with {read.exit_status}: {_message(read.stopped)}" if read.stopped else ""
    desired = figures.action.desired_status
    rows = [[status, f"{number:,}", "yes" if status == desired else "no"] for status, number in read.statuses.items()]
    rows += [[f"not read, {spaced(why)}", f"{number:,}", "unknown"] for why, number in read.unread_because.items()]
    columns: Kinds = {"Status": "text", "Certificates": "number", "In the desired state": "text"}
    title = "Read back" if read.is_proof else "Not read back"
    yield Section(title, [f"{said}. Duplicates are left out.{stopped}"], table=TextTable(columns, rows))


def _cas(figures: Figures) -> Iterator[Section]:
    if not figures.cas:
        return
    columns: Kinds = {"CA": "serial", "Rows": "number"}
    columns |= {spaced(name): "number" for name in figures.outcomes}

    def row(name: str, rows: int, outcomes: dict[str, int]) -> list[str]:
        return [name, f"{rows:,}", *(f"{outcomes.get(outcome, 0):,}" for outcome in figures.outcomes)]

    rows = [
        row(f"{ca.cas:,} others" if ca.cas > 1 else _serial(ca.ca_sn) or "(blank)", ca.rows, ca.outcomes)
        for ca in figures.cas
    ]
    total = row(counted(figures.cas_in_all, "CA"), figures.asked.rows, figures.outcomes)
    yield Section("By CA", table=TextTable(columns, rows, total))


def _calls(figures: Figures) -> Section:
    calls, read = figures.calls, figures.verified
    least = "at least " if calls.at_least else ""
    facts = [("Run", f"{least}{counted(calls.run, 'call')}, of which {counted(calls.retries, 'retry')}")]
    facts += [("Verification", counted(read.calls, "call"))] if read and read.finished else []
    facts += [
        ("Throttles", f"{calls.throttles:,}"),
        ("Peak (1 s window)", f"{counted(calls.peak_window, 'call')}, retries and reads included"),
    ]
    if calls.latency_ms:
        facts.append(("Latency", ", ".join(f"{name} {value:,.1f} ms" for name, value in calls.latency_ms.items())))
    return Section("How it went", facts=facts, charts=("containment", "pace"))


def _asked(figures: Figures) -> Section:
    asked, limits, results = figures.asked, figures.limits, figures.results
    addresses = ["any address of this machine" if each == "any" else each for each in limits.source_addresses]
    when = "as when they were written" if results.sha256 == results.recorded else "now"
    if results.is_changed:
        when = f"now; when they were written: {results.recorded}"
    rehearsal = ", an emulator: a rehearsal" if asked.rehearsal else ""
    facts = [
        ("Action", f"{asked.action}: {figures.action.verb} ({figures.action.operation.name})"),
        ("Run", _message(asked.run)),
        ("Instance", f"{_message(asked.instance)} at {_message(asked.endpoint)}{rehearsal}"),
        ("List", _message(", ".join(asked.inputs))),
        ("Rows", f"{asked.rows:,}"),
        ("Limits", f"{limits.account:,}/s for the account, {limits.address:,}/s for an address"),
        ("Sent from", ", ".join(addresses)),
        ("SHA-256, list", asked.sha256),
        ("SHA-256, results", f"{results.sha256} ({when})" if results.sha256 else "the file is not there"),
    ]
    return Section("What was asked", facts=facts)


def _changes(figures: Figures) -> Iterator[Section]:
    """Yields who has approved what and why, wherever a session was given something else than the one before."""
    facts: list[tuple[str, str]] = []
    before = ChangeRecord()
    for each in figures.starts:
        if each.change not in (before, ChangeRecord()):
            whose = f", {each.kind} of {clock(each.started)}" if facts else ""
            facts += [(f"{name[0].upper()}{name[1:]}{whose}", value) for name, value in change_rows(each.change)]
            before = each.change
    if facts:
        yield Section("Ticket and approval", facts=facts)


def _sessions(figures: Figures) -> Section:
    columns: Kinds = dict.fromkeys(("When", "Command", "By", "Access key", "Calls"), "text")
    rows = [(each.started, _session(each, is_first=not number)) for number, each in enumerate(figures.starts)]
    rows += [(each.asked, _controlled(each)) for each in figures.controls]
    return Section("By whom, and when", table=TextTable(columns, [row for _, row in sorted(rows)]))


def _controlled(each: Controlled) -> list[str]:
    by = _message(f"{each.user} on {each.host}, process {each.pid}")
    return [clock(each.asked), "control", by, "—", each.words if each.is_done else f"{each.words}: never done"]


def _session(each: SessionFigures, *, is_first: bool) -> list[str]:
    when = (
        f"{clock(each.started)} to {clock(each.finished)}" if each.finished else f"{clock(each.started)}, {each.state}"
    )
    when += f"; last sign of life {clock(each.last_sign)}" if each.state == "killed" and each.last_sign else ""
    when += f"; stopped: {_message(each.stopped)}" if each.stopped else ""
    least = "at least " if each.state == "killed" else ""
    calls = f"{least}{counted(each.calls, 'call')} at {each.achieved_rate:,.1f}/s; "
    calls += f"peak (1 s window) {each.peak_window:,}; {faults(each.retries, each.throttles)}, "
    calls += counted(each.outages, "outage")
    return [
        when,
        "resume" if each.kind == "run" and not is_first else each.kind,
        _message(f"{each.user} on {each.host}, process {each.pid}"),
        _message(f"{each.access_key_id} from {each.credentials}") if each.access_key_id else "—",
        calls if each.calls else f"{least}no calls",
    ]


def _serial(text: str) -> str:
    return printable(text, 128)


def _message(text: str) -> str:
    return printable(text, 300)


def _share(value: float) -> str:
    """Returns a share in percent; what is not all is never rounded to all, what is not nothing never to nothing."""
    percent = 100 * value
    if 0 < percent < 0.01:  # noqa: PLR2004 - what two decimals can show
        return "< 0.01 %"
    return "> 99.99 %" if 99.99 < percent < 100 else f"{percent:.2f} %"  # noqa: PLR2004 - the same
