"""Bytes: artifact URIs, stores (local directory, S3), content hashes. Knows no database."""

from zeroflow.artifacts.content import Content
from zeroflow.artifacts.stores import Stores
from zeroflow.artifacts.uris import URI, parse

__all__ = ["URI", "Content", "Stores", "parse"]
