"""The `ao` client: everything that only calls the API."""
