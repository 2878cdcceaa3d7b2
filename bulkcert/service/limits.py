"""The documented limits of the service (reference, section 2)."""

ACCOUNT_LIMIT = 500
"""Calls per second of an account, by operation, above which it is throttled."""

ADDRESS_LIMIT = 300
"""Calls per second of a source address above which it is blocked."""
