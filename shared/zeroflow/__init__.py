"""Zeroflow: the machine-learning lifecycle as functions that sleep until an event wakes them."""
