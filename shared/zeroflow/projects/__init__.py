"""Knative Functions projects: what func.yaml says, the environment it needs, and what is declared to run it here."""
