"""For all tests: the credential chain must not look for a metadata server."""

import os

os.environ["ALIBABA_CLOUD_ECS_METADATA_DISABLED"] = "true"
