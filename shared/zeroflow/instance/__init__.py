"""A user's Knative function project under gunicorn; the platform's own functions are built on `zeroflow.events`."""
