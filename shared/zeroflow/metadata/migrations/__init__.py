"""Alembic's environment and one file per schema version; `zeroflow.metadata.migrate` runs them."""
