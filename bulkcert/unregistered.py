"""What to do about certificates that the service does not know (reference, section 10: they register themselves)."""

from bulkcert.actions import Action


def on_unregistered(action: Action, *, protected: bool) -> str:
    """Returns what it means that certificates are not registered, and what to do, in words.

    Args:
        action: What is asked for them.
        protected: Whether others are protected from it, which may be of the same CA.
    """
    if action.wanted == "deleted":
        return "check the serials: there is nothing to delete under them."
    if not action.by_device:
        return "the instance knows no such CA: check the serials and the instance."
    if action.wanted == "active":
        return "such a certificate becomes active at its first connection, and nothing can switch it on before."
    by_ca = "" if protected else "inactivate its CA (inactivate-ca), or "
    return (
        f"NOT safe: such a certificate becomes active at its first connection; {by_ca}run again with --retry-failed "
        "once it has connected."
    )
