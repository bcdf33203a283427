"""Ingest: what comes from outside - uploads, storage notifications, webhooks - becomes a CloudEvent."""
