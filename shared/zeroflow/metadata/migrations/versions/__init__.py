"""The schema versions, oldest first: NNNN_what_changes.py."""
