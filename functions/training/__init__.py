"""Runs TrainJobs: a Job for each node. What a runtime's template is, is a resource; it lives nowhere here."""
