"""What happened: the database schema, its migrations and transactions."""

from zeroflow.metadata.base import Base, now_ms
from zeroflow.metadata.database import Database

__all__ = ["Base", "Database", "now_ms"]
