"""Has a predictor started that sleeps, by asking it whether it is ready: what it loads then, it tells by events."""

import logging
from typing import Any

from zeroflow.functions.inference import names
from zeroflow.functions.inference.containers import Platform

logger = logging.getLogger(__name__)

CONNECT_S, READ_S = 2.0, 20.0


class Waking:
    """Asks predictors, on either host."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def wake(self, isvc: dict[str, Any]) -> None:
        """Ask once; a predictor that does not answer in time has been asked all the same."""
        import urllib3

        base, headers = self._place(isvc)
        if not base:
            return
        timeout = urllib3.Timeout(connect=CONNECT_S, read=READ_S)
        try:
            urllib3.request("GET", f"{base}/v2/health/ready", headers=headers, timeout=timeout, retries=False)
        except urllib3.exceptions.HTTPError as error:
            logger.warning("predictor %s does not answer: %s", base, type(error).__name__)

    def _place(self, isvc: dict[str, Any]) -> tuple[str, dict[str, str]]:
        """Return where the predictor is asked, and with what; the platform's token goes to the host alone."""
        if self._platform.is_embedded:
            metadata = isvc["metadata"]
            service = names.service_name(metadata["name"])
            base = self._platform.services.format(namespace=metadata["namespace"], service=service)
            token = self._platform.token
            return base, {"authorization": f"Bearer {token}"} if token else {}
        component = ((isvc.get("status") or {}).get("components") or {}).get("predictor") or {}
        return str((component.get("address") or {}).get("url") or "").rstrip("/"), {}
