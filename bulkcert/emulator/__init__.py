"""The service's double: the thirteen certificate operations with their limits and faults, for rehearsals and tests."""
