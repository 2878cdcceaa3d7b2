"""What to do about certificates that the service does not know (reference, section 10: they register themselves)."""

from bulkcert.service.actions import Action


def on_unregistered(
    action: Action, *, protected: bool, retry: str = "bulkcert resume RESULTS --retry not_registered"
) -> str:
    """Returns what it means that certificates are not registered, and what to do, in words.

    Args:
        action: What is asked for them.
        protected: Whether others are protected from it, which may be of the same CA.
        retry: The command that calls them again.
    """
    if action.deletes:
        return "check the serials: there is nothing to delete under them."
    if not action.by_device:
        return "the instance knows no such CA: check the serials and the instance."
    if action.desired == "active":
        return "such a certificate becomes active at its first connection, and nothing can switch it on before."
    by_ca = "" if protected else "inactivate its CA (inactivate-ca), or "
    return (
        f"NOT safe: such a certificate becomes active at its first connection; {by_ca}once it has connected, {retry}."
    )
