"""GitHub as a forge: github.com, Enterprise servers, and whatever speaks their API."""
