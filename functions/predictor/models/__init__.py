"""The models that are served: loading, exchange, and that all processes of a revision serve the same."""
