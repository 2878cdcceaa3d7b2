"""What machines are shown of a session: log events, metrics, messages."""
