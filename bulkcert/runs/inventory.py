"""The inventory: certificates as the service lists them, streamed to a file."""

from dataclasses import dataclass, field

import anyio
import anyio.to_thread

from bulkcert.engine.lanes import Lanes
from bulkcert.engine.limits import Target
from bulkcert.engine.listing import Deliver, Listing
from bulkcert.engine.pages import read_listings
from bulkcert.engine.progress import Progress
from bulkcert.engine.session import Leave, Observer, calling
from bulkcert.engine.stats import StatsMaker
from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.output.inventory_file import InventoryFile, InventoryFilter
from bulkcert.service.certificates import Page
from bulkcert.service.credentials import CredentialProvider


@dataclass(slots=True)
class Inventory:
    """The taking of one inventory.

    Attributes:
        service: Which, from where, how fast.
        wanted: What is wanted.
        file: Where it goes.
        progress: What is done so far.
        read: Certificates read.
        repeated: Certificates skipped because the page before held them too.
    """

    service: Target
    wanted: InventoryFilter
    file: InventoryFile
    progress: Progress = field(default_factory=Progress)
    read: int = 0
    repeated: int = 0
    _begun: list[Listing] = field(default_factory=list)
    _unknown: list[str] = field(default_factory=list)
    _failure: BulkcertError | None = None

    async def take(self, provider: CredentialProvider, watch: Observer, leave: Leave) -> None:
        """Reads every page that is needed and writes the file.

        Args:
            provider: What to sign with; has credentials.
            watch: Shows the progress.
            leave: Called on the second signal; ends the process at once.

        Raises:
            BulkcertError: It could not be done; no half of an inventory may be kept.
        """
        stats = StatsMaker(self.progress, "verifying", self.service)
        async with calling(self.service, provider, stats, watch, leave) as lanes:
            async with anyio.create_task_group() as group:
                group.start_soon(anyio.to_thread.run_sync, self.file.write)
                try:
                    self._failure = await self._read(lanes)
                finally:
                    self.file.add(None)
            failure = self._why_not()
            self.progress.scans += failure is None
        if failure is not None:
            raise failure

    async def _read(self, lanes: Lanes) -> BulkcertError | None:
        listings = self.wanted.listings(self.service.instance)

        def more() -> Listing | None:
            ca_sn, listing = next(listings, ("", None))
            if listing is None or self._unknown or any(begun.failure for begun in self._begun):
                return None
            self._begun.append(listing)
            listing.deliver = self._deliver(ca_sn, listing)
            return listing

        failure = await read_listings(lanes, more)
        return next((begun.failure for begun in self._begun if begun.failure), failure)

    def _deliver(self, ca_sn: str, listing: Listing) -> Deliver:
        """Returns what takes the pages of a listing, in order; they shift when certificates come and go meanwhile."""
        before: set[tuple[str, str, str]] = set()

        def deliver(page: Page, _at: int) -> bool:
            nonlocal before
            if listing.refused and ca_sn not in self._unknown:
                self._unknown.append(ca_sn)
            keys = [(certificate.device_sn, certificate.ca_sn, certificate.sn) for certificate in page.certificates]
            fresh = [certificate for certificate, key in zip(page.certificates, keys, strict=True) if key not in before]
            before = set(keys)
            self.read += len(fresh)
            self.repeated += len(keys) - len(fresh)
            self.file.add(fresh)
            return not (self._unknown or self.file.failure)

        return deliver

    def _why_not(self) -> BulkcertError | None:
        if (stop := self.progress.stop) is not None:
            message = f"{stop.message.removesuffix('.')}; nothing was written"
            again = stop.status >= ExitStatus.INTERRUPTED
            return BulkcertError(stop.status, message, "" if again else stop.advice, again=again)
        if self.file.failure is not None:
            return self.file.failure
        if self._failure is not None:
            failure = self._failure
            message = f"{failure.message.removesuffix('.')}; nothing was written"
            return BulkcertError(failure.status, message, failure.advice, again=failure.again)
        if self._unknown:
            named = ", ".join(self._unknown)
            return BulkcertError(
                ExitStatus.INPUT_INVALID,
                f"--ca-sn {named}: instance {self.service.instance} has no such CA; nothing was written",
                "bulkcert inventory --cas lists the CAs of the instance.",
            )
        return None
