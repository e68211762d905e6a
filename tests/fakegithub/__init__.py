"""A GitHub on this machine: its API over a real bare repository, its runners over the repository's own script, its webhooks, its limits.

What it answers is checked against GitHub's published documents: every JSON body against the OpenAPI document, every query by executing it
on the GraphQL schema.
"""
