"""The report of a run: every number counted from its results, its summary and its journal, and told in four formats."""
