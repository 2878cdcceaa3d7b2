"""Pages that hold fewer than were asked for, and pages that cannot be had."""

import pytest

from bulkcert.engine.listing import Listing
from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.service.certificates import Page
from bulkcert.service.operations import OPERATIONS

BY_CA = OPERATIONS["ListDeviceCertificateByCaSn"]


def read(size, fit, total):
    """Reads so many certificates, of which so many fit on a page; returns them, and how many pages were asked for."""
    found, asked = [], 0

    def deliver(page, _at):
        found.extend(page.certificates)
        return True

    listing = Listing(BY_CA, {}, deliver)
    while not listing.done:
        number = listing.next()
        asked += 1
        assert asked < 200, "it does not end"
        listing.take(number, Page(list(range(size))[(number - 1) * fit : number * fit], total), 1)
    assert listing.whole
    return found, asked


@pytest.mark.parametrize("fit", [1, 10, 50, 99])
@pytest.mark.parametrize("size", [1, 9, 10, 50, 51, 99])
def test_every_certificate_though_fewer_fit(size, fit):
    """A service that puts fewer on a page than were asked for does not end a listing early."""
    found, asked = read(size, fit, size)

    assert found == list(range(size))
    assert asked <= size // fit + 2


@pytest.mark.parametrize("total", [38, 5000, 10**9])
def test_a_total_that_is_wrong_costs_one_page(total):
    """Where Total counts more than there are, an empty page ends the listing."""
    assert read(37, 100, total) == (list(range(37)), 2)


def test_a_page_that_cannot_be_had():
    """What is left of a listing that was given up is waited for, and it is not whole: nothing is missing from it."""
    listing = Listing(BY_CA, {})
    listing.take(listing.next(), Page([0] * 100, 300), 1)
    numbers = [listing.next() for _ in range(2)]
    listing.give_up(BulkcertError(ExitStatus.UNAVAILABLE, "no"))

    assert (listing.next(), listing.done) == (None, False)
    listing.take(numbers[1], Page([]), 1)
    assert (listing.done, listing.whole) == (True, False)
