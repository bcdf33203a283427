"""CloudEvents in and out: the function app, deduplication, the transactional outbox, tracing."""

from zeroflow.events.app import Delivery, FunctionApp
from zeroflow.events.outbox import Outbox, Transaction

__all__ = ["Delivery", "FunctionApp", "Outbox", "Transaction"]
