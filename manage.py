#!/usr/bin/env python
"""Django's own command line, for people who develop this project (`ao manage` sets the servers up first)."""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aoweb.settings")
    execute_from_command_line(sys.argv)
