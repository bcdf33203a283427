"""Run all benchmarks, or those named: `python -m benchmarks chain cold_start`; one that takes options takes them
after its name: `python -m benchmarks predictor --models rf --peers kserve,mlserver`."""

import importlib
import sys

NAMES = (
    "chain", "fan_out", "first_run", "cold_start", "broker", "backlog", "proxy", "predictor", "throughput",
    "replicas", "grpc_calls", "registry", "resources", "tuning",
)  # fmt: skip


def main() -> int:
    """Run what was asked for."""
    if sys.argv[1:2] in (["-h"], ["--help"]):
        print(f"{__doc__}\n\nThere are: {', '.join(NAMES)}.")
        return 0
    options = next((sys.argv[at:] for at, word in enumerate(sys.argv) if at and word.startswith("-")), [])
    wanted = sys.argv[1 : len(sys.argv) - len(options)] or list(NAMES)
    unknown = [name for name in wanted if name not in NAMES]
    if unknown:
        print(f"no benchmark {unknown[0]!r}; there are: {', '.join(NAMES)}", file=sys.stderr)
        return 2
    for name in wanted:
        print(f"\n== {name}")
        benchmark = importlib.import_module(f"benchmarks.{name}")
        benchmark.main(options) if options else benchmark.main()
    return 0


if __name__ == "__main__":
    sys.exit(main())
