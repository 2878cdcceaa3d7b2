"""Which instance each row of a list is of, and in which region that is: by options, or by columns of the list."""

from collections.abc import Iterator, Sequence

import msgspec
import polars as pl

from bulkcert.errors import BulkcertError, ExitStatus, wrong_options
from bulkcert.input.check import NO_INSTANCE, NO_REGION, WRONG_INSTANCE, WRONG_REGION
from bulkcert.input.columns import find_column
from bulkcert.input.records import Part
from bulkcert.service.regions import REGIONS
from bulkcert.words import printable

INSTANCE_ID = r"[A-Za-z0-9_-]+"
"""What the ID of an instance is made of; nothing else is documented of it (reference, section 10)."""

MOST_INSTANCES = 1000
"""Instances that a list may name: with more, the column is likely to be another one's."""


class InstanceSource(msgspec.Struct, frozen=True, kw_only=True):
    """Where it is said which instance rows are of, as options have it.

    Attributes:
        instance: The instance of all rows; empty where a column is to say it.
        instance_column: Exact name of that column; empty to look for ``MqttInstanceId``.
        region: The region of all instances; empty where a column is to say it.
        region_column: Exact name of that column; empty to look for ``RegionId`` where no option says the region.
        endpoint: Whether the service is named by its URL, so that no region has to be.
        optional: Whether a list that has no such column is of use without an instance.
    """

    instance: str = ""
    instance_column: str = ""
    region: str = ""
    region_column: str = ""
    endpoint: bool = False
    optional: bool = False

    def missing(self, instance: str | None = None, region: str | None = None) -> Iterator[str]:
        """Yields what nothing says, given the columns that say something."""
        if not (self.instance or instance or self.optional):
            said = "the ID of the instance that holds the certificates"
            yield f"--instance is missing: {said}, unless the list has a column MqttInstanceId"
        if not (self.region or self.endpoint or region):
            yield "--region is missing: that of the instance; or name the service's URL with --endpoint"


class RowInstances:
    """The instances that the rows of a list name, as far as it was read.

    Args:
        source: Where it is said which they are; None where that does not matter.
    """

    def __init__(self, source: InstanceSource | None) -> None:
        self._source = source
        self._given = (source.instance, source.region) if source is not None else ("", "")
        self.columns: tuple[str | None, str | None] = (None, None)
        """The columns of the instances and of their regions; None where the list has none, or it does not matter."""
        self.named: list[str] = []
        """Those that are there."""
        self.by_row: str | None = None
        """The column that says which instance a row is of; None where an option does."""
        self._region_by_row: str | None = None
        self.regions: dict[str, str] = {}
        """The instances that were named, each with its region; an empty text where no column says that."""

    def find(self, place: str, columns: Sequence[str], keys: Sequence[str]) -> None:
        """Finds them among the columns of a file, of which some are those of the serials.

        Raises:
            BulkcertError: INPUT_INVALID: an option names one that is not there or holds something else, or several may
                be meant; USAGE: neither an option nor a column says which instance, or which region.
        """
        if (source := self._source) is None:
            return
        instance = find_column(place, columns, ("MqttInstanceId",), "--instance-column", source.instance_column)
        region = None
        # A region that is given needs no column, and instances that are not there are refused all the same.
        if source.region_column or not (source.region or source.endpoint):
            region = find_column(place, columns, ("RegionId",), "--region-column", source.region_column)
        for column, others in ((instance, keys), (region, (*keys, instance))):
            if column is not None and column in others:
                said = f"{place}: column {printable(column)} cannot hold two things"
                advice = "Name another one with --instance-column or --region-column."
                raise BulkcertError(ExitStatus.INPUT_INVALID, said, advice)
        self.columns, self.named = (instance, region), [*filter(None, (instance, region))]
        self.by_row = None if source.instance else instance
        self._region_by_row = None if source.region else region
        if missing := list(source.missing(instance, region)):
            advice = "No calls were made. --instance-column and --region-column name columns of the list instead."
            raise wrong_options(missing, advice)

    def faults(self, frame: pl.DataFrame, part: Part) -> pl.Series | None:
        """Returns the codes of rows that do not say it, 0 for the others; None where an option says it.

        Raises:
            BulkcertError: INPUT_INVALID: a row says something else than the option.
        """
        for column, given in zip(self.columns, self._given, strict=True):
            if column is not None and given:
                _confirm_given(frame[column], given, part)
        found: list[pl.Expr] = []
        if (column := self.by_row) is not None:
            unfit = ~pl.col(column).str.contains(f"^{INSTANCE_ID}$")
            found.append(pl.when(_is_blank(column)).then(NO_INSTANCE).when(unfit).then(WRONG_INSTANCE))
        if (column := self._region_by_row) is not None:
            unfit = ~pl.col(column).is_in(REGIONS)
            found.append(pl.when(_is_blank(column)).then(NO_REGION).when(unfit).then(WRONG_REGION))
        return frame.select(pl.coalesce(*found, 0).cast(pl.UInt8).alias("fault")).to_series() if found else None

    def take(self, frame: pl.DataFrame, file: str) -> None:
        """Takes note of the instances of rows without a fault.

        Raises:
            BulkcertError: INPUT_INVALID: an instance is in two regions, or there are too many.
        """
        by_row, region = self.by_row, self._region_by_row
        if by_row is None and region is None:
            return
        names = pl.lit(self._given[0]) if by_row is None else pl.col(by_row)
        regions = pl.lit("") if region is None else pl.col(region)
        pairs = frame.select(names.alias("instance"), regions.alias("region")).unique(maintain_order=True)
        for instance, found in pairs.iter_rows():
            before = self.regions.setdefault(instance, found)
            if before != found:
                said = f"{file}: the instance {instance} is in two regions, {before} and {found}"
                raise BulkcertError(ExitStatus.INPUT_INVALID, said, "An instance is in one region: correct the list.")
        if len(self.regions) > MOST_INSTANCES:
            said = f"{file}: column {printable(by_row or '')} names more than {MOST_INSTANCES:,} instances"
            raise BulkcertError(ExitStatus.INPUT_INVALID, said, "Name the right one with --instance-column.")


def _is_blank(column: str) -> pl.Expr:
    return pl.col(column).is_null() | (pl.col(column).str.strip_chars() == "")


def _confirm_given(found: pl.Series, given: str, part: Part) -> None:
    """Confirms that what rows say, as far as they say anything, is what an option says.

    Raises:
        BulkcertError: INPUT_INVALID: it is not.
    """
    other = found.to_frame().select(~_is_blank(found.name) & (pl.col(found.name) != given)).to_series()
    if other.fill_null(value=False).any():
        index = other.arg_max() or 0
        said = f"{part.place(index)}, column {printable(found.name)}: {printable(found[index])}, and not {given}"
        advice = "The option says otherwise: leave it out to go by the column, or correct the list."
        raise BulkcertError(ExitStatus.INPUT_INVALID, f"{said}; no calls were made", advice)
