"""The record of a run in a report: outcomes, what was read back, calls, what was asked, by whom and when."""

from collections.abc import Iterator, Sequence

from bulkcert.output.advice import meaning_of
from bulkcert.report.figures import CaCount, Controlled, Figures, InstanceCount, SessionFigures
from bulkcert.report.parts import Kinds, Section, TextTable, message, serial
from bulkcert.store.outcome import Outcome
from bulkcert.store.sessions import ChangeRecord
from bulkcert.views.layout import change_rows
from bulkcert.words import clock, counted, faults, later, spaced, tr, trn

_IN_DESIRED_STATE = {
    Outcome.SUCCEEDED: later("yes"),
    Outcome.UNCHANGED: later("yes"),
    Outcome.UNKNOWN: later("unknown"),
    Outcome.DUPLICATE: later("as that row"),
}
"""Whether a row with this outcome is; ``no`` for the others."""


def outcomes_section(figures: Figures) -> Section:
    columns: Kinds = {tr("Outcome"): "serial", tr("Rows"): "number", tr("Share"): "number"}
    columns |= {tr("In the desired state"): "text", tr("Meaning"): "text"}
    rows = []
    for outcome, count in zip(map(Outcome, figures.outcomes), figures.outcomes.values(), strict=True):
        share = _share(count / figures.asked.rows)
        rows.append(
            [outcome, f"{count:,}", share, tr(_IN_DESIRED_STATE.get(outcome, later("no"))), meaning_of(outcome)]
        )
    ended = [(tr("Exit status"), f"{figures.exit_status}{tr(': ')}{message(figures.exit_meaning)}")]
    total = [tr("All rows"), f"{figures.asked.rows:,}", "", "", ""]
    connected = tr(
        "Not in here: whether devices that were connected still are. The vendor documents only that a certificate is "
        "checked when a device connects."
    )
    return Section(
        tr("Outcomes"),
        facts=ended if figures.exit_status is not None else [],
        table=TextTable(columns, rows, total),
        after="" if figures.action.desired == "active" else connected,
    )


def read_back_section(figures: Figures) -> Iterator[Section]:
    if (read := figures.verified) is None:
        return
    said = tr("From {first} to {last}", first=clock(read.first), last=clock(read.last))
    if read.finished:
        when, calls = clock(read.finished), counted(read.calls, "call")
        said = tr("The last verification ended {when}, in {calls}", when=when, calls=calls)
    if read.called_again:
        one = later("; {count:,} was found in another state and called again")
        many = later("; {count:,} were found in another state and called again")
        said += trn(one, many, read.called_again)
    said += tr(". Duplicates are left out.")
    if read.stopped:
        said += tr(" Ended early, with {status}: {why}", status=read.exit_status, why=message(read.stopped))
    desired = figures.action.desired_status
    rows = [
        [spaced(status), f"{number:,}", tr("yes") if status == desired else tr("no")]
        for status, number in read.statuses.items()
    ]
    rows += [
        [tr("not read, {why}", why=spaced(why)), f"{number:,}", tr("unknown")]
        for why, number in read.unread_because.items()
    ]
    columns: Kinds = {tr("Status"): "text", tr("Certificates"): "number", tr("In the desired state"): "text"}
    yield Section(tr("Read back") if read.is_proof else tr("Not read back"), [said], table=TextTable(columns, rows))


def cas_section(figures: Figures) -> Iterator[Section]:
    if not figures.cas:
        return
    columns: Kinds = {"CA": "serial"}
    columns |= {tr("Instance"): "serial"} if figures.instances else {}
    rows = []
    for ca in figures.cas:
        name = tr("{count:,} others", count=ca.cas) if ca.cas > 1 else serial(ca.ca_sn) or tr("(blank)")
        rows.append(([name, serial(ca.instance)], ca))
    yield _by_outcome(figures, tr("By CA"), columns, rows, [counted(figures.cas_in_all, "CA"), ""])


def instances_section(figures: Figures) -> Iterator[Section]:
    """Yields the rows of each instance, where a list names several."""
    if not figures.instances:
        return
    columns: Kinds = {tr("Instance"): "serial", tr("Endpoint"): "text"}
    rows = [([serial(each.instance), message(each.endpoint)], each) for each in figures.instances]
    yield _by_outcome(figures, tr("By instance"), columns, rows, [figures.asked.on, ""])


def _by_outcome(
    figures: Figures,
    title: str,
    columns: Kinds,
    rows: Sequence[tuple[list[str], CaCount | InstanceCount]],
    total: list[str],
) -> Section:
    """Returns a table of rows by outcome: what stands in the columns of each, of which the last may not be there."""

    def cells(names: list[str], count: int, outcomes: dict[str, int]) -> list[str]:
        return [*names[: len(columns)], f"{count:,}", *(f"{outcomes.get(each, 0):,}" for each in figures.outcomes)]

    lines = [cells(names, each.rows, each.outcomes) for names, each in rows]
    all_columns = columns | dict.fromkeys((tr("Rows"), *map(spaced, figures.outcomes)), "number")
    return Section(title, table=TextTable(all_columns, lines, cells(total, figures.asked.rows, figures.outcomes)))


def calls_section(figures: Figures) -> Section:
    calls, read = figures.calls, figures.verified
    run = tr("{calls}, of which {retries}", calls=counted(calls.run, "call"), retries=counted(calls.retries, "retry"))
    facts = [(tr("Run"), _at_least(run, is_least=calls.at_least))]
    facts += [(tr("Verification"), counted(read.calls, "call"))] if read and read.finished else []
    limits = figures.limits
    allowed = min(limits.account, limits.address * len(limits.source_addresses))
    sent = counted(calls.peak_window, "call")
    peak = tr("{calls} of at most {allowed:,}, retries and reads included", calls=sent, allowed=allowed)
    facts += [(tr("Throttles"), f"{calls.throttles:,}"), (tr("Peak (1 s window)"), peak)]
    if calls.latency_ms:
        values = ((tr("longest") if name == "longest" else name, value) for name, value in calls.latency_ms.items())
        facts.append((tr("Latency"), tr(", ").join(f"{name} {value:,.1f} ms" for name, value in values)))
    return Section(tr("How it went"), facts=facts, charts=("containment", "pace"))


def _at_least(text: str, *, is_least: bool) -> str:
    return tr("at least {what}", what=text) if is_least else text


def asked_section(figures: Figures) -> Section:
    asked, limits, results = figures.asked, figures.limits, figures.results
    addresses = [tr("any address of this machine") if each == "any" else each for each in limits.source_addresses]
    when = tr("as when they were written") if results.sha256 == results.recorded else tr("now")
    if results.is_changed:
        when = tr("now; when they were written: {sha256}", sha256=results.recorded)
    where = tr("{instance} at {endpoint}", instance=message(asked.on), endpoint=message(asked.at))
    said = later("{account:,}/s for the account, {address:,}/s for an address")
    limit = tr(said, account=limits.account, address=limits.address)
    gone = tr("the file is not there")
    facts = [
        (tr("Action"), f"{asked.action}{tr(': ')}{tr(figures.action.verb)} ({figures.action.operation.name})"),
        (tr("Run"), message(asked.run)),
        (tr("Instance"), where + tr(", an emulator: a rehearsal") * asked.rehearsal),
        (tr("List"), message(tr(", ").join(asked.inputs))),
        (tr("Rows"), f"{asked.rows:,}"),
        (tr("Limits"), limit),
        (tr("Sent from"), tr(", ").join(addresses)),
        (tr("SHA-256, list"), asked.sha256),
        (tr("SHA-256, results"), f"{results.sha256} ({when})" if results.sha256 else gone),
    ]
    if figures.rows_digest is not None:
        facts.append((tr("BLAKE2b, all rows"), figures.rows_digest))
    return Section(tr("What was asked"), facts=facts)


def _executors(figures: Figures) -> str:
    """Returns who has executed it: the name that was given, or the accounts of the sessions."""
    accounts = dict.fromkeys(tr("{user} on {host}", user=each.user, host=each.host) for each in figures.starts)
    return message(figures.headings.executor or tr(", ").join(accounts))


def changes_section(figures: Figures) -> Iterator[Section]:
    """Yields who has approved what and why, wherever a session was given something else than the one before."""
    facts: list[tuple[str, str]] = []
    before = ChangeRecord()
    for each in figures.starts:
        if each.change not in (before, ChangeRecord()):
            whose = f"{tr(', ')}{tr(each.kind)} {clock(each.started)}" if facts else ""
            facts += [(f"{name[0].upper()}{name[1:]}{whose}", value) for name, value in change_rows(each.change)]
            before = each.change
    yield Section(tr("Ticket and approval"), facts=[*facts, (tr("Executed by"), _executors(figures))])


def signing(figures: Figures) -> list[tuple[str, str]]:
    """Returns who signs a report that is printed, as far as it is known: a role and a name each."""
    approvers = dict.fromkeys(each.change.approved_by for each in figures.starts if each.change.approved_by)
    return [
        (tr("Executed by"), _executors(figures)),
        (tr("Approved by"), message(tr(", ").join(approvers))),
        (tr("Accepted by"), ""),
    ]


def sessions_section(figures: Figures) -> Section:
    columns: Kinds = dict.fromkeys((tr("When"), tr("Command"), tr("By"), tr("Access key"), tr("Calls")), "text")
    rows = [(each.started, _session(each, is_first=not number)) for number, each in enumerate(figures.starts)]
    rows += [(each.asked, _controlled(each)) for each in figures.controls]
    return Section(tr("By whom, and when"), table=TextTable(columns, [row for _, row in sorted(rows)]))


def _controlled(each: Controlled) -> list[str]:
    by = message(tr("{user} on {host}, process {pid}", user=each.user, host=each.host, pid=each.pid))
    done = each.words if each.is_done else tr("{request}: never done", request=each.words)
    return [clock(each.asked), "control", by, "—", done]


_STATES = {"running": later("{when}, running"), "killed": later("{when}, interrupted")}


def _session(each: SessionFigures, *, is_first: bool) -> list[str]:
    began = clock(each.started)
    when = tr("{first} to {last}", first=began, last=clock(each.finished)) if each.finished else ""
    when = when or tr(_STATES[each.state], when=began)
    if each.state == "killed" and each.last_sign:
        when += tr("; last sign of life {when}", when=clock(each.last_sign))
    when += tr("; stopped: {why}", why=message(each.stopped)) if each.stopped else ""
    calls = tr(
        "{calls} at {rate:,.1f}/s; peak (1 s window) {peak:,}; {faults}, {outages}",
        calls=counted(each.calls, "call"),
        rate=each.achieved_rate,
        peak=each.peak_window,
        faults=faults(each.retries, each.throttles),
        outages=counted(each.outages, "outage"),
    )
    if each.handed_over:
        given = tr("{calls} of lanes that fell silent given to others", calls=counted(each.handed_over, "call"))
        calls = tr("{calls}; {given}", calls=calls, given=given)
    return [
        when,
        tr("resume") if each.kind == "run" and not is_first else tr(each.kind),
        message(tr("{user} on {host}, process {pid}", user=each.user, host=each.host, pid=each.pid)),
        message(_signed(each)) or "—",
        _at_least(calls if each.calls else tr("no calls"), is_least=each.state == "killed"),
    ]


def _signed(each: SessionFigures) -> str:
    """Returns what has signed its calls: one key, or that of each lane."""
    said = later("{lane} (egress {egress}): {key} from {source}")
    lanes = [
        tr(said, lane=lane.name, egress=lane.egress, key=lane.key, source=tr(lane.source))
        for lane in each.lanes
        if lane.name
    ]
    if lanes or not each.access_key_id:
        return tr("; ").join(lanes)
    return tr("{key} from {source}", key=each.access_key_id, source=tr(each.credentials))


def _share(value: float) -> str:
    """Returns a share in percent; what is not all is never rounded to all, what is not nothing never to nothing."""
    percent = 100 * value
    if 0 < percent < 0.01:  # noqa: PLR2004 - what two decimals can show
        return "< 0.01 %"
    return "> 99.99 %" if 99.99 < percent < 100 else f"{percent:.2f} %"  # noqa: PLR2004 - the same
