"""Serves one model over HTTP: protocols V1 and V2 (Open Inference Protocol). It holds nothing but the model."""
