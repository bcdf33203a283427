"""Reading and writing Kubernetes resources from a function."""
