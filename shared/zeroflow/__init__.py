"""Zeroflow: the machine-learning lifecycle as functions that sleep until an event wakes them."""

__version__ = "0.1.0"
