"""What a report says, and in which order: its figures in words, once for a page, a text and Markdown alike."""

from collections.abc import Iterator
from itertools import compress

import msgspec

from bulkcert.output.advice import quoted
from bulkcert.report.figures import Figures, Finding, Sample
from bulkcert.report.parts import Document, Kinds, Section, TextTable, message, serial
from bulkcert.report.record import (
    asked_section,
    calls_section,
    cas_section,
    changes_section,
    instances_section,
    outcomes_section,
    read_back_section,
    sessions_section,
    signing,
)
from bulkcert.words import REHEARSAL, about, clock, counted, duration, length, spaced, tr, trn

FEW = 20
"""Certificates of each finding that stand with it; the others are at the end, where they are in nobody's way."""


def document_of(figures: Figures, *, is_brief: bool = False) -> Document:
    """Returns what is said of a run; what is not in the desired state comes second; a brief one names few."""
    verdict, steps = figures.verdict, figures.verdict.steps
    sections = [Section(tr("What to do next"), [f"→ {step}" for step in steps])] if steps else []
    sections += [
        *_findings(figures, is_brief=is_brief),
        *_exposure(figures),
        *changes_section(figures),
        outcomes_section(figures),
        *read_back_section(figures),
        *instances_section(figures),
        *cas_section(figures),
        calls_section(figures),
        asked_section(figures),
        sessions_section(figures),
        *([] if is_brief else _continued(figures)),
    ]
    return Document(
        title=_title(figures),
        verdict=msgspec.structs.replace(verdict, notes=[message(note) for note in verdict.notes]),
        # What was undone took no time until it was done.
        tiles=list(_progress(figures) if figures.live else () if figures.certificates.is_undone else _tiles(figures)),
        tiles_note="" if figures.live else _tiles_note(figures),
        sections=sections,
        signing=signing(figures),
        footer=tr(
            "Made {when} by bulkcert {version} from the store of {results}; the run was made by {other}.",
            when=clock(figures.made),
            version=figures.made_by,
            results=message(figures.results.path),
            other=figures.asked.version,
        ),
    )


def _title(figures: Figures) -> str:
    asked = figures.asked
    given = f"{message(figures.headings.title)}{tr(': ')}" * bool(figures.headings.title)
    rehearsal = f"{tr(REHEARSAL)}{tr(': ')}" * asked.rehearsal
    where = tr("{action} on {instance}", action=asked.action, instance=message(asked.on))
    return f"{rehearsal}{given}{where}{tr(', ')}{clock(figures.containment.since)}"


def _tiles_note(figures: Figures) -> str:
    return tr(
        "Time until so many certificates were {state}, from the start of the run, by the outcomes of its calls; "
        "those that were so before count from when that was read.",
        state=tr(figures.action.desired),
    )


def _tiles(figures: Figures) -> Iterator[tuple[str, str, str]]:
    shown, state = figures.containment, tr(figures.action.desired)
    names = {
        "first": tr("First {state}", state=state),
        "half": tr("Half of the list"),
        "99 %": tr("99 % of the list"),
        "last": tr("Last of {count:,}", count=shown.reached),
    }
    for stone in shown.milestones:
        if stone.after_s is None:
            counts = {"needed": stone.certificates, "reached": shown.reached}
            yield names[stone.name], tr("not reached"), tr("{needed:,} needed, {reached:,} reached", **counts)
        else:
            yield names[stone.name], length(stone.after_s), clock(stone.at)


def _progress(figures: Figures) -> Iterator[tuple[str, str, str]]:
    if (live := figures.live) is None:
        return
    of = tr("{done:,} of {rows:,}", done=live.done, rows=live.rows)
    if live.rows and live.phase != "verifying":
        yield tr("Done"), f"{int(100 * live.done / live.rows)} %", of
    now = tr("paused") if live.phase == "paused" else tr("{rate:,.0f} calls/s", rate=live.rate)
    yield tr("Now"), now, tr("at most {limit:,.0f}/s", limit=live.limit)
    yield tr("So far"), duration(live.elapsed_s), counted(live.calls, "call")
    if live.left_s is not None:
        yield tr("Left"), about(live.left_s), live.waiting_for


def _findings(figures: Figures, *, is_brief: bool) -> Iterator[Section]:
    if figures.findings:
        rows = counted(sum(each.rows for each in figures.findings), "row")
        failed = message(figures.failed or "")
        where = tr(" All of them, with what to do about each: {file}", file=failed) if failed else ""
        yield Section(tr("What is not in the desired state"), [f"{rows}{tr('.')}{where}"])
    for finding in figures.findings:
        named, others = finding.samples[:FEW], finding.samples[FEW:]
        below = trn("{count:,} more is named at the end", "{count:,} more are named at the end", len(others))
        yield Section(
            _name(finding),
            [message(finding.meaning), f"→ {finding.advice}"],
            table=_samples(named, finding, by_device=figures.action.by_device),
            after=below if others and not is_brief else _more(figures, finding, finding.rows - len(named)),
            is_part=True,
        )


def _continued(figures: Figures) -> Iterator[Section]:
    """Yields the certificates that do not stand with their findings, and where those are that are not named."""
    if long := [finding for finding in figures.findings if len(finding.samples) > FEW]:
        rows = counted(sum(len(finding.samples) - FEW for finding in long), "row")
        yield Section(tr("What is not in the desired state, continued"), [f"{rows}{tr('.')}"])
    for finding in long:
        yield Section(
            _name(finding),
            table=_samples(finding.samples[FEW:], finding, by_device=figures.action.by_device),
            after=_more(figures, finding, finding.rows - len(finding.samples)),
            is_part=True,
        )


def _more(figures: Figures, finding: Finding, more: int) -> str:
    if not more:
        return ""
    where = message(figures.failed or figures.results.path)
    said = tr("and {count:,} more, all in {file}", count=more, file=where)
    own = tr("; into a file of their own: {command}", command=quoted(finding.export)) if finding.export else ""
    return said + own


def _name(finding: Finding) -> str:
    why = serial(finding.code)
    why = tr("read back as {status}", status=spaced(finding.read_back)) if finding.read_back else why
    return f"{finding.rows:,} {finding.outcome} {tr('maybe undone') if finding.maybe_undone else why}".rstrip()


def _samples(samples: list[Sample], finding: Finding, *, by_device: bool) -> TextTable:
    columns: Kinds = {tr("Row"): "number", "DeviceSn": "serial", "CaSn": "serial", tr("Instance"): "serial"}
    columns |= {"HTTP": "text", tr("Request id"): "serial", tr("Message"): "text"}
    by_instance = any(each.instance for each in samples)
    has_words = any(each.message not in ("", finding.meaning) for each in samples)
    kept, rows, blank = (True, by_device, True, by_instance, True, True, has_words), [], tr("(blank)")
    for each in samples:
        serials = [serial(text) or blank for text in (each.device_sn, each.ca_sn, each.instance)]
        answer = [str(each.http_status or "—"), serial(each.request_id) or "—", message(each.message) or "—"]
        rows.append(list(compress([f"{each.row:,}", *serials, *answer], kept)))
    return TextTable(dict(compress(columns.items(), kept)), rows)


def _exposure(figures: Figures) -> Iterator[Section]:
    if (shown := figures.exposure) is None:
        return
    facts = [(tr("Leaked"), clock(shown.since))]
    for stone in shown.milestones:
        certificates = counted(stone.certificates, "certificate")
        if stone.after_s is None:
            value = tr("not reached: {count:,} are not known to be off", count=shown.certificates - shown.off)
        else:
            value = tr("exposed for {time}, until {when}", time=length(stone.after_s), when=clock(stone.at))
        facts.append((tr("{share} of the list", share=stone.name), f"{value} ({certificates})"))
    note = tr(
        "From the leak until the service had switched so many certificates off, by the outcomes of the calls; what was "
        "off before counts from when that was read."
    )
    yield Section(tr("Exposure"), [note], facts=facts)
