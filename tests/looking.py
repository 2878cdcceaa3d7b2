"""A list of devices in mixed states, and the run that looks at them first."""

from program import here, read_results, write_devices

BY_CA, LIST_CAS, GET, CALL = (
    "ListDeviceCertificateByCaSn",
    "ListCaCertificate",
    "GetDeviceCertificate",
    "InactivateDeviceCertificate",
)
ACTIVE, INACTIVE, MISSING = MIXED = ("active", "inactive", "not_registered")
STATUS = {ACTIVE: "1", INACTIVE: "0"}
CLOSE_TOGETHER = ("--max-in-flight", "8")


class Place:
    """A list of devices, and what the emulator knows of each.

    Args:
        directory: Where files are.
        service: The emulator.
        count: Devices of the list.
        cas: CAs that they are spread over.
        state: Gives the state of each from its place in the list, from 0.
    """

    def __init__(self, directory, service, count, *, cas=1, state=lambda _: ACTIVE):
        self.list, self.results, self.service = directory / "devices.csv", directory / "results.csv", service
        self.devices = write_devices(self.list, count, cas=cas)
        self.before = [state(number) for number in range(count)]
        for kind, status in STATUS.items():
            service.seed(self.of_state(kind), status)

    def of_state(self, *kinds):
        return [device for device, state in zip(self.devices, self.before, strict=True) if state in kinds]

    def arguments(self, *more, where=None, action="inactivate-device"):
        where = self.service.looking if where is None else where
        return ("run", action, self.list, "-o", self.results, *where, *more)

    def run(self, *more):
        return here(*self.arguments(*more))

    def prior(self):
        return [row["prior_status"] for row in read_results(self.results)]

    def called(self):
        """Returns the pairs that were called to be changed, in order."""
        return [(call["device_sn"], call["ca_sn"]) for call in self.service.calls() if call["operation"] == CALL]

    def judge(self, *, prior=None):
        """Checks outcome and prior status of every row against what the emulator knew before, and knows now."""
        expected = {ACTIVE: "succeeded", INACTIVE: "unchanged", MISSING: MISSING}
        rows = read_results(self.results)
        assert [row["outcome"] for row in rows] == [expected[state] for state in self.before]
        assert [row["prior_status"] for row in rows] == (self.before if prior is None else prior)
        assert [(row["DeviceSn"], row["CaSn"]) for row in rows] == self.devices
        found = self.service.counts()["devices"]
        assert found == {"0": len(self.of_state(ACTIVE, INACTIVE))}
