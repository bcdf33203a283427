"""Servers that the predictor is measured beside, each run by the Python of an environment of its own."""
