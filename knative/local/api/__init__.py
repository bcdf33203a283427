"""The Kubernetes-style resource API: the durable store of declared resources and its HTTP surface."""
