"""scikit-learn imported without what predictions do without: it takes most of the time in which a model is loaded.

Left out are pandas (wanted for models of data frames alone, which import it when they are loaded), rich (for bars that
show how a fit goes on), and until it is asked for scipy.stats: a third of the import, of which scikit-learn's modules
need a few functions, in few models. They get stand-ins that import it when they are called.

Guarantees: nobody but scikit-learn's own modules ever sees a stand-in, and only while this imports them; what is
imported later - by a model's own code, or by a pickle that holds a distribution - is the real thing. A process that
answers requests, whose threads may import anything meanwhile, loads further models in threads, and there all is real.
"""

import importlib
import logging
import re
import sys
from threading import current_thread, main_thread
from types import ModuleType
from typing import Any

logger = logging.getLogger(__name__)

STATISTICS = "scipy.stats"
OPTIONAL = ("pandas", "rich")
COMMON = "linear_model"
"""What this imports, nearly every model's own module imports as well."""
PACKAGE = re.compile(rb"sklearn\.(\w+)")


def import_lightly(pickled: bytes) -> None:
    """Import those packages of scikit-learn that a pickle names, when neither it nor the others are there already."""
    if {"sklearn", STATISTICS, *OPTIONAL} & sys.modules.keys() or current_thread() is not main_thread():
        return
    statistics = _Statistics(STATISTICS)
    statistics.__path__ = []  # an import of something below it fails, and all is imported the usual way
    away = dict.fromkeys(OPTIONAL)  # None is how Python's import says that a module is not to be had
    standing_in: dict[str, Any] = {**away, STATISTICS: statistics}
    sys.modules.update(standing_in)
    try:
        for name in (COMMON, *sorted({found.decode() for found in PACKAGE.findall(pickled)})):
            importlib.import_module(f"sklearn.{name}")
    except Exception as error:  # the pickle says what it needs; it is imported the usual way
        logger.info("scikit-learn is not imported lightly: %s: %s", type(error).__name__, error)
    finally:
        for name, module in standing_in.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]
        statistics.is_seen = False


class _Statistics(ModuleType):
    """scipy.stats as scikit-learn's modules see it: its functions, each imported when it is called."""

    is_seen = True
    """Whether imports find this instead of the real module."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Later(name) if self.is_seen else getattr(_real(), name)


class _Later:
    """A function or distribution of scipy.stats."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return getattr(_real(), self._name)(*arguments, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(getattr(_real(), self._name), name)


def _real() -> Any:
    stood_in = sys.modules.get(STATISTICS)
    if isinstance(stood_in, _Statistics):  # something is computed while it is imported
        del sys.modules[STATISTICS]
    return importlib.import_module(STATISTICS)
