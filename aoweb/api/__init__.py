"""The REST interface, version 1: what programs and the command line use."""
