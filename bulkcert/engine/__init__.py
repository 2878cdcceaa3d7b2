"""The engine: rows through paced lanes of workers into the store (see ``calling`` for the trip of one row)."""
