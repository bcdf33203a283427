"""The predictor's Flask routes, by protocol. What they share is in `edge`."""
