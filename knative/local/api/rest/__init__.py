"""The HTTP surface of the resource API: what kubectl and the Kubernetes clients speak. No rules of its own."""
