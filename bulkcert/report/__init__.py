"""The report of a run: every number counted from the store, and shown in four formats."""
