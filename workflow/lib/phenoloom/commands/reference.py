"""`reference`: print the page of all config keys."""

import sys


def add(parser):
    pass


def call(given):
    from phenoloom.config.reference import reference

    sys.stdout.write(reference())
    return 0
