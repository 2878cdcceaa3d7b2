"""A run: from an input file through paced calls and a journal to a results file."""
