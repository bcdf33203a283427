"""Run all benchmarks, or those named: `python -m benchmarks chain cold_start`."""

import importlib
import sys

NAMES = (
    "chain", "fan_out", "first_run", "cold_start", "broker", "backlog", "proxy", "predictor", "grpc_calls",
    "registry", "resources", "tuning",
)  # fmt: skip


def main() -> int:
    """Run what was asked for."""
    wanted = sys.argv[1:] or list(NAMES)
    unknown = [name for name in wanted if name not in NAMES]
    if unknown:
        print(f"no benchmark {unknown[0]!r}; there are: {', '.join(NAMES)}", file=sys.stderr)
        return 2
    for name in wanted:
        print(f"\n== {name}")
        importlib.import_module(f"benchmarks.{name}").main()
    return 0


if __name__ == "__main__":
    sys.exit(main())
