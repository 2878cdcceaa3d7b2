"""The state by itself: seeds in bulk."""

import pytest

from bulkcert.emulator.state import Registry

INSTANCE = "instance"


@pytest.fixture
def state():
    state = Registry()
    yield state
    state.close()


def test_seed_of_devices(state):
    """The status of a row is its device's; the CA that it names is there, and active."""
    state.seed(INSTANCE, [("ca", "1"), ("ca", "2"), ("other", "1")], "0")

    assert state.counts(INSTANCE) == {"cas": {"1": 2}, "devices": {"0": 3}}
    assert state.owner(INSTANCE) is not None


def test_seed_of_cas(state):
    """A row without a device is a CA, with the status of the row, though its devices are listed, too."""
    state.seed(INSTANCE, [("off", ""), ("off", "1"), ("ca", "1")], "0")

    assert state.ca(INSTANCE, "off")["Status"] == "0"
    assert state.ca(INSTANCE, "ca")["Status"] == "1"


def test_seed_again(state):
    """A second seed sets the status of what is there and leaves the rest alone."""
    state.seed(INSTANCE, [("ca", "1"), ("ca", "2")])
    state.seed(INSTANCE, [("ca", "2"), ("ca", "2")], "0")

    assert state.device(INSTANCE, "ca", "1")["Status"] == "1"
    assert state.device(INSTANCE, "ca", "2")["Status"] == "0"


def test_seed_is_all_or_nothing(state):
    """Rows that break off in the middle leave nothing behind."""

    def broken():
        yield "ca", "1"
        raise LookupError

    with pytest.raises(LookupError):
        state.seed(INSTANCE, broken())

    assert state.counts(INSTANCE) == {"cas": {}, "devices": {}}
    assert state.owner(INSTANCE) is None


def test_seed_keeps_the_owner(state):
    """A seed adds a missing instance and does not take one from its account."""
    state.put_instance(INSTANCE, "2000000000000002")
    state.seed(INSTANCE, [("ca", "1")])

    assert state.owner(INSTANCE) == "2000000000000002"
