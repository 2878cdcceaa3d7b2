"""The commands: what each takes is in ``signatures``, what it does in a module of its name loaded when given."""
