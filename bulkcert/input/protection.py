"""Serials that must not be touched: a list of them, and which rows of an input it protects."""

import hashlib
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import polars as pl

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.input.files import identity
from bulkcert.input.serial_list import BARE, CA, DEVICE, read_serial_list


class Serials:
    """A set of serials, 40 bytes each: a search of sorted hashes is ten times as fast as ``is_in``.

    Args:
        serials: The serials, without nulls.
    """

    def __init__(self, serials: pl.Series) -> None:
        texts = serials.unique()
        # Where every serial has a hash of its own, one comparison of texts settles it. The first seed mostly does.
        self._seed = next(seed for seed in count(1) if texts.hash(seed).n_unique() == len(texts))
        self.texts, self._hashes = pl.DataFrame([texts, texts.hash(self._seed).alias("hash")]).sort("hash")

    def __len__(self) -> int:
        return len(self.texts)

    def places(self, asked: pl.Series) -> pl.Series:
        """Returns where in ``texts`` these serials are, null where they are not in the set."""
        if not len(self):
            return pl.repeat(None, n=len(asked), dtype=pl.UInt32, eager=True)
        places = self._hashes.search_sorted(asked.hash(self._seed)).clip(0, len(self) - 1)
        return places.set((self.texts.gather(places) != asked).fill_null(value=True), None)

    def hold(self, asked: pl.Series) -> pl.Series:
        """Returns which of these serials are in the set."""
        return self.places(asked).is_not_null()


@dataclass(frozen=True, slots=True)
class Protection:
    """A list of protected serials, for device actions or for actions on CAs.

    Attributes:
        path: The file.
        sha256: Of the file's bytes as they are, in hexadecimal.
        by_device: Whether it is for a device action.
        bare: Whether the list does not say which serials are those of devices and which of CAs: each is taken for both.
        device_serials: Devices that must not be touched.
        ca_serials: CAs that must not be touched; for a device action those that are protected with all their devices.
        lone: Devices of which the list does not say under which CA they are.
        named_cas: All CAs on the list, alone or with a device: an action on one of them would touch what is on it.
    """

    path: Path
    sha256: str
    by_device: bool
    bare: bool
    device_serials: Serials
    ca_serials: Serials
    lone: Serials
    named_cas: Serials

    @property
    def devices(self) -> int:
        """Number of device serials that count for themselves: for an action on CAs those without a CA."""
        return 0 if self.bare else len(self.device_serials if self.by_device else self.lone)

    @property
    def cas(self) -> int:
        """Number of CAs that are protected as a whole."""
        return 0 if self.bare else len(self.ca_serials)

    def describe(self) -> str:
        """Returns what is on the list, in words: ``3 devices and 1 CA``, or ``2 serials``."""
        if not len(self.device_serials) + len(self.ca_serials):
            return "nothing"
        if self.bare:
            return _counted(len(self.ca_serials), "serial")
        devices = [_counted(self.devices, "device")] * (self.by_device or self.devices > 0)
        return " and ".join([*devices, _counted(self.cas, "CA")])

    def hits(self, keys: pl.DataFrame) -> pl.Series:
        """Returns which rows are protected by their own serials.

        Args:
            keys: Serials of the devices and the CAs; of the CAs alone for an action on CAs .
        """
        by_device, by_ca = Search(self).hits(keys)
        return by_device | by_ca


class _Likes:
    """The serials of a list regardless of letter case and leading zeros, and which of them rows have had so far.

    Args:
        serials: The serials as they are.
    """

    def __init__(self, serials: Serials) -> None:
        self._serials = serials
        self._plain = Serials(_plain(serials.texts))
        self._seen = pl.repeat(value=False, n=len(self._plain), eager=True)

    def note(self, asked: pl.Series) -> None:
        """Takes in serials of rows, null where there is none."""
        if len(self._plain):
            _find(self._plain, _plain(asked), self._seen)

    def missed(self, found: pl.Series) -> pl.Series:
        """Returns the serials that rows have with other letter case or other leading zeros only.

        Args:
            found: Which serials rows have exactly.
        """
        missed = self._serials.texts.filter(~found)
        return missed.filter(self._seen.gather(self._plain.places(_plain(missed))))


def _plain(serials: pl.Series) -> pl.Series:
    return serials.str.to_lowercase().str.strip_chars_start("0")


class Search:
    """Looks for the serials of a list in the rows of an input, and remembers which it has found.

    Args:
        protection: The list.
    """

    def __init__(self, protection: Protection) -> None:
        self.protection = protection
        self._devices_found = pl.repeat(value=False, n=len(protection.device_serials), eager=True)
        self._cas_found = pl.repeat(value=False, n=len(protection.ca_serials), eager=True)
        self._cas_of_devices = Serials(pl.Series(dtype=pl.String))
        self._like_cas = _Likes(protection.ca_serials)
        self._like_devices = self._like_cas if protection.bare else _Likes(protection.device_serials)

    def note_devices(self, devices: pl.Series, cas: pl.Series) -> None:
        """Takes in, for an action on CAs, the devices that are named with CAs: the CA of a protected one is protected.

        Args:
            devices: Their serials, null where there is none.
            cas: Serials of the CAs, likewise.
        """
        found = _find(self.protection.device_serials, devices, self._devices_found)
        self._like_devices.note(devices.filter(~(found | self.protection.ca_serials.hold(cas))))
        under = cas.filter(found).drop_nulls()
        new = under.filter(~self._cas_of_devices.hold(under))
        if len(new):
            self._cas_of_devices = Serials(pl.concat([self._cas_of_devices.texts, new.rename("")]))

    def hits(self, keys: pl.DataFrame) -> tuple[pl.Series, pl.Series]:
        """Returns which rows are protected by their device's serial, and which by their CA's.

        Args:
            keys: Serials of the devices and the CAs; of the CAs alone for an action on CAs.
        """
        protection = self.protection
        if keys.width != 1 + protection.by_device:
            raise ValueError("a list for one kind of action does not do for the other")
        cas = keys.to_series(-1)
        by_ca = _find(protection.ca_serials, cas, self._cas_found) | self._cas_of_devices.hold(cas)
        by_device = pl.repeat(value=False, n=keys.height, eager=True)
        if protection.by_device:
            by_device = _find(protection.device_serials, keys.to_series(0), self._devices_found)
            self._like_devices.note(keys.to_series(0).filter(~(by_device | by_ca)))
        self._like_cas.note(cas.filter(~(by_device | by_ca)))
        return by_device, by_ca

    @property
    def missed(self) -> int:
        """Number of serials on the list that no row has had so far; what is named with its CA counts as that."""
        if self.protection.bare:  # the same serials twice, in the same order
            return int((~(self._devices_found | self._cas_found)).sum())
        devices = int((~self._devices_found).sum()) if self.protection.by_device else self.unplaced
        return devices + int((~self._cas_found).sum())

    @property
    def mistaken(self) -> pl.Series:
        """Serials on the list that no row has had, while unprotected ones differ only in case or leading zeros."""
        if self.protection.bare:  # the same serials twice, in the same order
            return self._like_cas.missed(self._devices_found | self._cas_found).sort()
        missed = self._like_devices.missed(self._devices_found), self._like_cas.missed(self._cas_found)
        return pl.concat(missed).sort()

    @property
    def unplaced(self) -> int:
        """Number of serials on the list that may be those of devices, and of which no CA is known."""
        if self.protection.bare:
            return self.missed
        return int(self.protection.lone.hold(self.protection.device_serials.texts.filter(~self._devices_found)).sum())


def _find(serials: Serials, asked: pl.Series, found: pl.Series) -> pl.Series:
    """Returns which of some serials are in a set, and marks in ``found`` those of the set that are among them."""
    places = serials.places(asked)
    if places.null_count() < len(places):
        found.scatter(places.drop_nulls().unique(), values=True)
    return places.is_not_null()


def _counted(count: int, kind: str) -> str:
    return f"{count:,} {kind}{'s' * (count != 1)}"


def open_protection(
    path: Path, *, by_device: bool, trust_serials: bool = False, may_be_empty: bool = False
) -> Protection:
    """Reads a list of serials that must not be touched.

    In a table (by its suffix, as an input) a line with DeviceSn means that device, under whatever CA; a line with CaSn
    alone means that CA and all its devices. For an action on CAs each CaSn means its CA: what is done to a CA may reach
    its devices. Any other suffix is text with a serial a line, blank lines and lines that begin with ``#`` ignored;
    such a serial, like those of a single column without a telling name, means the device or the CA that has it.

    Args:
        path: The file.
        by_device: Whether the action is on device certificates.
        trust_serials: Whether serials that all look like rounded numbers are taken as they are.
        may_be_empty: Whether a list without serials is one.

    Raises:
        BulkcertError: INPUT_UNREADABLE; INPUT_INVALID: a serial that cannot be right, none at all, or a file that
            does not say where the serials are.
    """
    path = Path(path)
    opened = identity(path)
    digest = hashlib.sha256()
    found = read_serial_list(path, digest, by_device=by_device, trust_serials=trust_serials, may_be_empty=may_be_empty)
    if identity(path) != opened:
        raise BulkcertError(
            ExitStatus.INPUT_INVALID,
            f"{path}: the file was changed while it was read",
            "See that nothing writes to it any more.",
            again=True,
        )
    if found[BARE].null_count() < found.height:
        either = Serials(found[BARE])
        return Protection(path, digest.hexdigest(), by_device, True, either, either, either, either)
    alone = found.filter(pl.col(DEVICE).is_null())[CA]
    lone = found.filter(pl.col(CA).is_null())[DEVICE]
    devices, cas = Serials(found[DEVICE].drop_nulls()), Serials(found[CA].drop_nulls())
    whole = Serials(alone.drop_nulls()) if by_device else cas
    return Protection(path, digest.hexdigest(), by_device, False, devices, whole, Serials(lone.drop_nulls()), cas)
