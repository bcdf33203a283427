"""Kubernetes resources as a function sees them: read, apply, conditions, owners. Knows no kind in particular."""
