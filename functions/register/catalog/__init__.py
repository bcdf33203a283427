"""The model catalog: models that others offer, from YAML sources that the administrator owns; read-only."""
