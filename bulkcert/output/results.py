"""The results file: the list, row by row and in order, with what became of each row.

It is made from the pinned list and the store, streamed; it appears whole under its name or not at all.
"""

import io
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import reduce
from operator import and_
from pathlib import Path
from typing import BinaryIO, NamedTuple

import polars as pl
import polars.selectors as cs
from polars.exceptions import PanicException
from polars.io.plugins import register_io_source

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.input import CA_SN, OWN_PREFIX, ROW, PinnedList, annotated
from bulkcert.output.evidence import Ask, Evidence
from bulkcert.output.files import cannot_write, clear_left, reason_of, whole
from bulkcert.output.formats import FORMATS, FormulaRows, guarded, suffix_of
from bulkcert.store import queries
from bulkcert.store.evidence import confirm_mirrors
from bulkcert.store.outcome import Outcome

RENAMED_PREFIX = "input_"
"""Put before the name of an input's own column that has the name of one of ours."""

_TIME = pl.Datetime("ms", "UTC")
_NAMES = {"before": "prior_status", "verified": "verified_status"}
_TYPES = {
    "row": pl.UInt32(),
    "http_status": pl.UInt16(),
    "attempts": pl.UInt32(),
    **dict.fromkeys(("sent_at", "finished_at", "verified_at"), pl.Int64()),
    "latency_ms": pl.Float64(),
    "digest": pl.Binary(),
    "altered": pl.Boolean(),
}
_WINDOW = pl.Schema({_NAMES.get(name, name): _TYPES.get(name, pl.String()) for name in queries.WINDOW})
"""The columns of ``queries.window``, under the names that they have in results; the last two are in none."""

COLUMNS = tuple(_WINDOW)[:-4]
"""The columns after the input's own, in this order."""

FROM_OUTSIDE = ("code", "message", "request_id")
"""Those of them that the service has a say in."""

VERIFIED_COLUMNS = tuple(_WINDOW)[-4:-2]
"""The columns after those once states were read back."""

WHAT_TO_DO = "what_to_do"
"""The last column of the rows that are not in the desired state, in a file of their own."""

_OURS = (*COLUMNS, *VERIFIED_COLUMNS, WHAT_TO_DO)


class Written(NamedTuple):
    """What was written.

    Attributes:
        rows: Rows by outcome.
        digest: Of all rows of the list in order, whichever were wanted.
        formulas: What a spreadsheet would run of it.
    """

    rows: Counter[Outcome]
    digest: str
    formulas: FormulaRows


MAKE_ROOM = "Nothing is lost: the store holds every outcome. Make room."
"""What to do where the results of a run cannot be written."""


def write_results(
    path: Path,
    pinned: PinnedList,
    ask: Ask,
    only: Mapping[str, Collection[str]] | None = None,
    *,
    guards: bool = True,
    advice: str = MAKE_ROOM,
    into: BinaryIO | None = None,
) -> Written:
    """Writes results, durable before they appear under their name; every row is proved to be as it was kept.

    Args:
        path: Where; the suffix decides on the format.
        pinned: The list.
        ask: Asks the store.
        only: Values of the rows that are wanted, by column of the results or ``CA_SN``; any where there are none.
        guards: Whether cells from outside that a spreadsheet would run are quoted, where it is CSV (``formats``).
        advice: What to do next if they cannot be written.
        into: What takes them in place of the file.

    Raises:
        BulkcertError: They cannot be written, or what the store has is not what was kept.
    """
    suffix, rows, evidence, formulas = suffix_of(path), Counter[Outcome](), Evidence(ask, pinned.rows), FormulaRows()
    guards = guards and FORMATS[suffix].for_people
    ask(confirm_mirrors)
    verified = ask(queries.count, queries.READ_BACK) > 0

    def with_outcomes(batch: pl.DataFrame) -> pl.DataFrame:
        nonlocal formulas
        frame = chosen(batch, evidence.rows(batch), suffix, only, verified=verified)
        if guards:
            formulas = formulas.and_then(frame, frame.columns[: frame.columns.index("row")], "row")
            frame = guarded(frame, FROM_OUTSIDE)
        rows.update({Outcome(name): count for name, count in frame["outcome"].value_counts().iter_rows()})
        return frame

    write_rows(path, pinned, with_outcomes, advice=advice, into=into)
    return Written(rows, evidence.digest, formulas)


def write_rows(
    path: Path,
    pinned: PinnedList,
    shape: Callable[[pl.DataFrame], pl.DataFrame],
    *,
    advice: str = MAKE_ROOM,
    into: BinaryIO | None = None,
) -> None:
    """Writes what ``shape`` makes of the batches of a list, durable before it appears under its name.

    It is asked for an empty batch first; ``advice`` and ``into`` are as for ``write_results``.

    Raises:
        BulkcertError: It cannot be written.
    """
    failure: list[BulkcertError] = []

    def frames() -> Iterator[pl.DataFrame]:
        try:
            yield from map(shape, annotated(pinned))
        except BulkcertError as error:
            failure.append(error)
            raise

    try:
        schema = shape(next(annotated(pinned)).clear()).schema
        with whole(path) if into is None else nullcontext(into) as file:
            FORMATS[suffix_of(path)].write(lazy(frames, schema), file)
    except BaseException as error:
        if failure:
            raise failure[0] from error
        if not isinstance(error, (OSError, pl.exceptions.PolarsError)):
            raise
        raise cannot_write(path, error, advice) from error


def remove_rows(path: Path) -> None:
    """Removes a file of ``write_rows`` that is not wanted any more, and what killed processes have left of it.

    Raises:
        BulkcertError: It cannot be removed.
    """
    clear_left(path)
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(path, error, MAKE_ROOM) from error


def lazy(frames: Callable[[], Iterator[pl.DataFrame]], schema: pl.Schema) -> pl.LazyFrame:
    """Returns a table whose frames, of a schema, are made when it is read, and only as far as it is."""

    def generate(
        columns: list[str] | None, condition: pl.Expr | None, left: int | None, _size: int | None
    ) -> Iterator[pl.DataFrame]:
        for made in frames():
            frame = made if condition is None else made.filter(condition)
            frame = frame if left is None else frame.head(left)
            yield frame if columns is None else frame.select(columns)
            if left is not None and not (left := left - frame.height):
                return

    return register_io_source(generate, schema=schema)


def prove_columns(path: Path, pinned: PinnedList) -> None:
    """Proves before the first call that files of these columns can be made, by the first row; writes nothing.

    That of the failed rows is always CSV.

    Raises:
        BulkcertError: It cannot.
    """
    try:
        first = next(annotated(pinned, last_row=min(1, pinned.rows)))
        for suffix in {suffix_of(path), ".csv"}:
            frame = chosen(first, [], suffix, verified=True)
            FORMATS[suffix].write(frame.lazy(), io.BytesIO())
    except (pl.exceptions.PolarsError, PanicException) as error:
        raise BulkcertError(
            ExitStatus.CANNOT_WRITE,
            f"cannot write {path} with the columns of the input: {reason_of(error)}",
            "No calls were made. Name results of another format with -o, or take what is nested out of the input.",
        ) from error


def chosen(
    batch: pl.DataFrame,
    known: list[tuple[object, ...]],
    suffix: str,
    only: Mapping[str, Collection[str]] | None = None,
    *,
    verified: bool,
) -> pl.DataFrame:
    """Returns the input's own columns of a batch of ``annotated`` and the outcome columns behind them.

    Args:
        batch: The batch.
        known: What the store has of these rows: the columns of ``queries.WINDOW``.
        suffix: Of the file that it is for.
        only: See ``write_results``.
        verified: Whether the columns of what was read back are among them.
    """
    own = batch.select(pl.exclude(f"^{OWN_PREFIX}.*$"))
    own = own.rename(renamed(own.columns))
    outcomes = (
        batch.select(row=ROW)
        .join(pl.DataFrame(known, schema=_WINDOW, orient="row"), on="row", how="left", maintain_order="left")
        .with_columns(pl.col("outcome").fill_null(Outcome.NOT_ATTEMPTED.value), pl.col("attempts").fill_null(0))
        .select(*COLUMNS, *(VERIFIED_COLUMNS if verified else ()))
    )
    if conditions := [
        (batch if column == CA_SN else outcomes)[column].is_in(list(values)).fill_null(value=False)
        for column, values in (only or {}).items()
        if values
    ]:
        wanted = reduce(and_, conditions)
        own, outcomes = own.filter(wanted), outcomes.filter(wanted)
    times = cs.by_name("sent_at", "finished_at", "verified_at", require_all=False).cast(_TIME)
    if not (format_ := FORMATS[suffix]).typed:
        times = times.dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ")
        own = own.select(_as_text(name, kind, nested=format_.nested) for name, kind in own.schema.items())
    return own.hstack(outcomes.with_columns(times))


def renamed(own: Sequence[str]) -> dict[str, str]:
    """Returns new names for the input's own columns that have the name of one of ours."""
    taken, names = {*own, *_OURS}, {}
    for name in own:
        if name in _OURS:
            names[name] = RENAMED_PREFIX + name
            while names[name] in taken:
                names[name] = RENAMED_PREFIX + names[name]
            taken.add(names[name])
    return names


def _as_text(name: str, kind: pl.DataType, *, nested: bool) -> pl.Expr:
    """Returns a column in a form that a text format can hold: what is nested becomes JSON unless the format is."""
    column = pl.col(name)
    if isinstance(kind, pl.Struct):
        return column if nested else column.struct.json_encode()
    if isinstance(kind, (pl.List, pl.Array)):
        text = pl.struct(column.alias("v")).struct.json_encode().str.strip_prefix('{"v":').str.strip_suffix("}")
        return column if nested else text.alias(name)
    if isinstance(kind, pl.Binary):
        return column.bin.encode("base64")
    if isinstance(kind, pl.Duration) and not nested:
        return column.dt.to_string()
    return column
