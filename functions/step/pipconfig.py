"""pip's configuration as options of uv, so that both installers look in the same places.

uv does not read pip's files or its PIP_ variables, where an administrator names the indexes that a machine may use.
"""

import ast
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace

CONFIG_TIMEOUT_S = 20


@dataclass(frozen=True)
class PipConfig:
    """Where packages come from."""

    index_url: str | None = None
    extra_index_urls: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    trusted_hosts: tuple[str, ...] = ()
    no_index: bool = False

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "PipConfig":
        """Ask pip what its files and variables say; without pip, read its variables."""
        values = {
            name.removeprefix("PIP_").lower().replace("_", "-"): value
            for name, value in environment.items()
            if name.startswith("PIP_")
        }
        values = {**_from_files(environment), **values}
        return cls(
            index_url=values.get("index-url"),
            extra_index_urls=tuple(values.get("extra-index-url", "").split()),
            find_links=tuple(values.get("find-links", "").split()),
            trusted_hosts=tuple(values.get("trusted-host", "").split()),
            no_index=values.get("no-index", "").lower() in ("1", "true", "yes", "on"),
        )

    def with_options(self, options: tuple[str, ...]) -> "PipConfig":
        """Return this with a component's own index options, which go before the machine's as on pip's command line."""
        changed = self
        for option, value in zip(options[::2], options[1::2], strict=True):
            match option:
                case "--index-url":
                    changed = replace(changed, index_url=value)
                case "--extra-index-url":
                    changed = replace(changed, extra_index_urls=(*changed.extra_index_urls, value))
                case "--trusted-host":
                    changed = replace(changed, trusted_hosts=(*changed.trusted_hosts, value))
        return changed

    def uv_options(self) -> list[str]:
        """Return the options for `uv pip install`; the best version of all indexes is taken, as pip does."""
        options = ["--index-strategy", "unsafe-best-match"]
        if self.index_url:
            options += ["--default-index", self.index_url]
        for name, values in (
            ("--index", self.extra_index_urls),
            ("--find-links", self.find_links),
            ("--allow-insecure-host", tuple(_host(host) for host in self.trusted_hosts)),
        ):
            for value in values:
                options += [name, value]
        return [*options, "--no-index"] if self.no_index else options


def _host(value: str) -> str:
    """Return the host of what the SDK writes as a trusted host, which may be a whole URL."""
    return value.partition("://")[2].partition("/")[0] or value


def _from_files(environment: Mapping[str, str]) -> dict[str, str]:
    try:
        listed = subprocess.run(
            [sys.executable, "-m", "pip", "config", "list"],
            check=False,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=CONFIG_TIMEOUT_S,
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return {}
    found: dict[str, str] = {}
    for section in ("global", "install"):  # the more special one is applied last
        for line in listed.splitlines():
            name, _, value = line.partition("=")
            if name.startswith(f"{section}."):
                try:
                    found[name.removeprefix(f"{section}.")] = str(ast.literal_eval(value))
                except (ValueError, SyntaxError):
                    continue
    return found
