"""The model registry: its REST API, and the handler that registers a version when a model was made."""
