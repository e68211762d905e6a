"""What a person at the terminal reads when something cannot go on."""


class CannotRun(Exception):
    """One clear message: what is wrong, with which thing, and what to do about it."""
