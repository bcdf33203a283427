"""Runs Experiments: suggests parameters, starts a Job for each trial, collects metrics, decides when it is over."""
