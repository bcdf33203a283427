"""What a preloaded parent does besides importing: the mapped classes get to know each other.

SQLAlchemy does so at the first query otherwise, in every process forked from the parent: 30 ms of its first answer.
"""

from sqlalchemy.orm import configure_mappers

from zeroflow.metadata import schema

__all__ = ["schema"]

configure_mappers()
