"""The store: a run's one memory, an SQLite file from which every command reads the same truth (design, section 5)."""
