"""Serials that must not be touched: a list of them, and which rows of an input it protects."""

import hashlib
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import polars as pl

from bulkcert.batch.source.serial_list import CA, DEVICE, read_serial_list
from bulkcert.batch.source.table import identity
from bulkcert.errors import BulkcertError, ExitStatus


class _Serials:
    """A set of serials, 40 bytes each: a search of sorted hashes is ten times as fast as ``is_in``.

    Args:
        serials: The serials, without nulls.
    """

    def __init__(self, serials: pl.Series) -> None:
        texts = serials.unique()
        # Where every serial has a hash of its own, one comparison of texts settles it. The first seed mostly does.
        self._seed = next(seed for seed in count(1) if texts.hash(seed).n_unique() == len(texts))
        self._texts, self._hashes = pl.DataFrame([texts, texts.hash(self._seed).alias("hash")]).sort("hash")

    def __len__(self) -> int:
        return len(self._texts)

    def hold(self, asked: pl.Series) -> pl.Series:
        """Returns which of these serials are in the set."""
        if not len(self):
            return pl.repeat(value=False, n=len(asked), eager=True)
        places = self._hashes.search_sorted(asked.hash(self._seed)).clip(0, len(self) - 1)
        return (self._texts.gather(places) == asked).fill_null(value=False)


@dataclass(frozen=True, slots=True)
class Protection:
    """A list of protected serials, for device actions or for actions on CAs.

    Attributes:
        path: The file.
        sha256: Of the file's bytes as they are, in hexadecimal.
        by_device: Whether it is for a device action.
    """

    path: Path
    sha256: str
    by_device: bool
    _devices: _Serials
    _cas: _Serials

    @property
    def devices(self) -> int:
        """Number of device serials on the list; 0 for an action on CAs."""
        return len(self._devices)

    @property
    def cas(self) -> int:
        """Number of CAs that are protected as a whole."""
        return len(self._cas)

    def told(self) -> str:
        """Returns what is on the list, in words: ``3 devices and 1 CA``."""
        counts = [(self.devices, "device")] * self.by_device + [(self.cas, "CA")]
        return " and ".join(f"{count:,} {kind}{'s' * (count != 1)}" for count, kind in counts)

    def hits(self, keys: pl.DataFrame) -> pl.Series:
        """Returns which rows are protected.

        Args:
            keys: Serials of the devices and the CAs; of the CAs alone for an action on CAs (see ``Source.keys``).
        """
        by_device, by_ca = self.hits_by_serial(keys)
        return by_device | by_ca

    def hits_by_serial(self, keys: pl.DataFrame) -> tuple[pl.Series, pl.Series]:
        """Returns which rows are protected by their device's serial, and which by their CA's."""
        if keys.width != 1 + self.by_device:
            raise ValueError("a list for one kind of action does not do for the other")
        return self._devices.hold(keys.to_series(0)), self._cas.hold(keys.to_series(-1))


def open_protection(path: Path, *, by_device: bool, trust_serials: bool = False) -> Protection:
    """Reads a list of serials that must not be touched.

    In a table (by its suffix, as an input) a line with DeviceSn means that device, under whatever CA; a line with CaSn
    alone means that CA and all its devices. For an action on CAs each CaSn means its CA: what is done to a CA may reach
    its devices. Any other suffix is text with a serial a line, of devices for a device action, else of CAs; blank lines
    and lines that begin with ``#`` are passed over.

    Args:
        path: The file.
        by_device: Whether the action is on device certificates.
        trust_serials: Whether serials that all look like rounded numbers are taken as they are.

    Raises:
        BulkcertError: INPUT_UNREADABLE; INPUT_INVALID: a serial that cannot be right, none at all, or a file that
            does not say which CAs are meant.
    """
    path = Path(path)
    opened = identity(path)
    digest = hashlib.sha256()
    found = read_serial_list(path, digest, by_device=by_device, trust_serials=trust_serials)
    if identity(path) != opened:
        raise BulkcertError(
            ExitStatus.INPUT_INVALID,
            f"{path}: the file was changed while it was read",
            "Run again when nothing writes to it any more.",
        )
    devices = found[DEVICE] if by_device else found[DEVICE].clear()
    cas = found.filter(pl.col(DEVICE).is_null())[CA] if by_device else found[CA]
    return Protection(path, digest.hexdigest(), by_device, _Serials(devices.drop_nulls()), _Serials(cas.drop_nulls()))
