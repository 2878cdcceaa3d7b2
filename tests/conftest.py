"""For all tests: the credential chain reads the environment once in a process, and then finds the emulator's key."""

import os

os.environ["ALIBABA_CLOUD_ACCESS_KEY_ID"] = "testAccessKeyId"
os.environ["ALIBABA_CLOUD_ACCESS_KEY_SECRET"] = "testAccessKeySecret"
os.environ["ALIBABA_CLOUD_CLI_PROFILE_DISABLED"] = "true"
# It must not look for a metadata server.
os.environ["ALIBABA_CLOUD_ECS_METADATA_DISABLED"] = "true"
