"""Transform: evaluates JSONata expressions of EventTransforms for the embedded host. A cluster has Knative's own."""
