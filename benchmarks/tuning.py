"""What an Experiment adds to a trial, beside one process a trial without it, and Optuna in one process.

Trials do nothing (`true`), one at a time, so that a trial's share of the Experiment's duration is its overhead. Figures
of the first and of the last hundred trials of one Experiment tell whether the cost of a trial grows. The time of one
suggestion by TPE after 500 trials is measured in this process.
"""

import json
import subprocess
import sys
import time
import urllib.request

SPACE = [{"name": name, "parameterType": "double", "feasibleSpace": {"min": "-5", "max": "5"}} for name in ("x", "y")]
COMMAND = ["sh", "-c", "echo loss=0.${#1}", "-", "${trialParameters.x}${trialParameters.y}"]


def experiment(name: str, trials: int, algorithm: str, parallel: int) -> dict:
    """Return an Experiment whose trials do nothing."""
    container = {"name": "main", "image": "none", "command": COMMAND}
    return {
        "apiVersion": "kubeflow.org/v1beta1",
        "kind": "Experiment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "objective": {"type": "minimize", "objectiveMetricName": "loss"},
            "algorithm": {"algorithmName": algorithm},
            "maxTrialCount": trials,
            "parallelTrialCount": parallel,
            "parameters": SPACE,
            "trialTemplate": {
                "primaryContainerName": "main",
                "trialParameters": [{"name": each["name"], "reference": each["name"]} for each in SPACE],
                "trialSpec": {
                    "apiVersion": "batch/v1",
                    "kind": "Job",
                    "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [container]}}},
                },
            },
        },
    }


def request(url: str, method: str = "GET", body: object = None) -> dict:
    """Ask the resource API."""
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(asked, timeout=60) as answer:
        return json.load(answer)


def run(url: str, name: str, trials: int, algorithm: str = "random", parallel: int = 1) -> list[tuple[float, int]]:
    """Run an Experiment; return (seconds since it was created, trials ended) as it was seen to go on."""
    api = f"{url}/apis/kubeflow.org/v1beta1/namespaces/default/experiments"
    began = time.monotonic()
    request(api, "POST", experiment(name, trials, algorithm, parallel))
    seen: list[tuple[float, int]] = []
    while True:
        status = request(f"{api}/{name}").get("status") or {}
        seen.append((time.monotonic() - began, status.get("trialsSucceeded", 0)))
        if "completionTime" in status:
            return seen
        time.sleep(0.1)  # looking costs the host as well


def process_milliseconds(rounds: int) -> list[float]:
    """Start the trials' command by itself, one process a trial."""
    durations = []
    for _ in range(rounds):
        began = time.perf_counter()
        subprocess.run(COMMAND, capture_output=True, check=True)
        durations.append((time.perf_counter() - began) * 1000)
    return durations


def optuna_milliseconds(trials: int) -> float:
    """Return what one trial of Optuna's TPE costs in memory."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=1))
    began = time.perf_counter()
    study.optimize(lambda trial: trial.suggest_float("x", -5, 5) ** 2 + trial.suggest_float("y", -5, 5) ** 2, trials)
    return (time.perf_counter() - began) * 1000 / trials


def suggestion_milliseconds(history: int, rounds: int) -> list[float]:
    """Return how long TPE takes for the next suggestion after so many trials."""
    import random
    from dataclasses import replace

    from zeroflow.functions.trial.algorithms.history import Search, Tried
    from zeroflow.functions.trial.algorithms.tpe import by_tpe
    from zeroflow.tuning.spec import Parameter

    chance = random.Random(1)
    space = tuple(Parameter(name, "double", -5, 5) for name in ("x", "y"))
    tried = []
    for _ in range(history):
        x, y = chance.uniform(-5, 5), chance.uniform(-5, 5)
        tried.append(Tried({"x": repr(x), "y": repr(y)}, x * x + y * y))
    search, durations = Search(space, {}, False, 1, tuple(tried)), []
    for seed in range(rounds):
        began = time.perf_counter()
        by_tpe(replace(search, seed=seed))
        durations.append((time.perf_counter() - began) * 1000)
    return durations[1:]


def main() -> None:
    """Print milliseconds per trial."""
    from benchmarks.host import running_host
    from benchmarks.report import line

    trials = int(sys.argv[sys.argv.index("--trials") + 1]) if "--trials" in sys.argv else 300
    process = process_milliseconds(50)
    with running_host() as url:
        run(url, "warm", 5)
        seen = run(url, "measured", trials)
    line("one process a trial", process, "ms a trial")
    for first, last in ((0, 100), (trials - 100, trials)):
        began = next(at for at, ended in seen if ended >= first)
        done = next(at for at, ended in seen if ended >= last)
        label = f"zeroflow, trials {first}-{last}"
        print(f"{label:<26}{(done - began) * 1000 / (last - first):9.1f} ms a trial")
    print(f"{'Optuna, in one process':<26}{optuna_milliseconds(100):9.1f} ms a trial")
    line("TPE, suggestion 500", suggestion_milliseconds(500, 8), "ms")


if __name__ == "__main__":
    main()
