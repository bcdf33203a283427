"""Turns an InferenceService into a Knative Service that runs the predictor: revisions, canary, promotion, rollback."""
