"""From what is declared to what runs and is routed: one module per kind, each pass idempotent and level-triggered."""
