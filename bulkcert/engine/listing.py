"""One listing, page by page until it ends: which page to ask for next. Pure; the calls are made by ``paging``."""

from collections.abc import Callable, Mapping

from bulkcert.errors import BulkcertError
from bulkcert.service.certificates import PAGE_SIZE, Page
from bulkcert.service.operations import Operation

AHEAD = 1024
"""Pages that may be asked for beyond the first one that has not come: they wait in memory."""

MOST_AT_ONCE = 64
"""Pages asked for at a time where nothing says how many there are."""

Deliver = Callable[[Page, int], bool]
"""Takes the next page and the Unix time in milliseconds at which it was asked for; False where that is enough."""


def _pass_over(_page: Page, _at: int) -> bool:
    return True


class Listing:
    """How far the reading of one listing is.

    It ends with a page that holds fewer certificates than fit, and no later one that holds any (reference, section
    1.2). ``Total`` is a hint and no more: it may count certificates or pages, or be wrong. Pages are asked for up to
    where it may point, whatever it counts; beyond, in steps that grow from one. Where it counts more than a first page
    that is not full, the service may put fewer on a page than were asked for: then so many fit.

    Args:
        operation: A List operation.
        parameters: Its query, without ``PageNo`` and ``PageSize``.
        deliver: Given each page, in order.
    """

    def __init__(self, operation: Operation, parameters: Mapping[str, str], deliver: Deliver = _pass_over) -> None:
        self.operation = operation
        self.deliver = deliver
        self.pages = 0
        """Pages delivered."""
        self.asked = 0
        """Pages asked for."""
        self.enough = False
        """Whether whoever takes the pages wants no more."""
        self.cut = False
        """Whether it held more than whoever takes the pages has taken."""
        self.refused = False
        """Whether the service knows no such CA."""
        self.failure: BulkcertError | None = None
        """Why a page of it cannot be had, though others can; nothing more comes of it then."""
        self._parameters = dict(parameters)
        self._taken = 0
        self._waiting: dict[int, tuple[Page, int]] = {}
        self._short = self._last = 0
        self._fit = PAGE_SIZE
        self._bound = self._step = 1
        self._hints: list[int] = []

    @property
    def whole(self) -> bool:
        """Whether its end was seen, and all that it holds was delivered."""
        return self.failure is None and not self.cut and self._short > 0 and self._short >= self._last

    @property
    def done(self) -> bool:
        """Whether nothing more comes of it."""
        return (self.whole or self.enough) and self._taken == self.asked

    @property
    def expected(self) -> int | None:
        """Number of pages that ``Total`` may mean, or None where it means nothing or is in doubt."""
        return self._hints[0] if self._hints and self._fit == PAGE_SIZE else None

    def query(self, number: int) -> dict[str, str]:
        """Returns the query of a page; pages count from 1."""
        return self._parameters | {"PageNo": str(number), "PageSize": str(PAGE_SIZE)}

    def next(self) -> int | None:
        """Returns the number of a page to ask for now, or None where one must wait for others."""
        if self.whole or self.enough or self.asked >= min(self._bound, self.pages + AHEAD):
            return None
        self.asked += 1
        return self.asked

    def take(self, number: int, page: Page, at: int) -> None:
        """Takes a page that was asked for; pages may come in any order.

        Args:
            number: Its number.
            page: What it holds.
            at: When it was asked for, Unix time in milliseconds.
        """
        self._taken += 1
        size = len(page.certificates)
        if size:
            self._last = max(self._last, number)
        if number == 1:
            self._fit = size if 0 < size < page.total else PAGE_SIZE
            self._hints = sorted({-(-page.total // self._fit), page.total} - {0})
        if size < self._fit:
            self._short = max(self._short, number)
        self._waiting[number] = page, at
        while (found := self._waiting.pop(self.pages + 1, None)) is not None:
            self.pages += 1
            if self.enough:
                self.cut = self.cut or bool(found[0].certificates)
            else:
                self.enough = not self.deliver(*found)
        if self._taken == self._bound:
            self._go_on()

    def give_up(self, failure: BulkcertError) -> None:
        """Takes note that a page that was asked for cannot be had."""
        self._taken += 1
        self.failure = self.failure or failure
        self.enough = True

    def _go_on(self) -> None:
        """Moves the bound: to the next hint if it is within the step, else by the step, which then doubles."""
        hint = next((hint for hint in self._hints if hint > self._bound), None)
        # One more page shows whether so few fit, or Total is wrong.
        believed = self._bound == 1 and hint == self.expected
        if hint is not None and (believed or hint <= self._bound + self._step):
            self._bound, self._step = hint, 1
        else:
            self._bound += self._step
            self._step = min(2 * self._step, MOST_AT_ONCE)
