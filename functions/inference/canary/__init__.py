"""Canaries that decide: a policy, the evidence, an always-valid test, and decisions that promote or roll back."""
