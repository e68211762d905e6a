"""GitHub as a forge, against a GitHub of our own that answers as its published documents say."""
