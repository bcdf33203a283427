"""Runs beside a trial, in its container: reads what it measures where its log does not say, and ends it early.

Needs nothing but Python's standard library and is started without site-packages, because each trial waits for it. The
function starts it in front of the trial's own command (`zeroflow.functions.trial.injection`) when a collector or early
stopping asks for it; a trial that only prints its metrics runs alone.
"""
