"""Knative Serving on one machine: revisions, routes, activator, autoscaler. Starts no process itself."""
