"""Stands for Katib's image simple-pbt: a learning rate that must change over time, with a checkpoint.

    zeroflow images map ghcr.io/kubeflow/katib/simple-pbt examples/tuning/images/simple-pbt

The accuracy grows by how near the learning rate is to the best for the accuracy so far; a trial that goes on from
another's checkpoint begins with that one's accuracy.
"""

import argparse
import json
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--checkpoint", type=Path, default=Path("/var/log/katib/checkpoints/"))
    args = parser.parse_args()
    path = args.checkpoint / "training.json"
    state = json.loads(path.read_text()) if path.exists() else {"step": 0, "accuracy": 0.0}
    for _ in range(args.epochs):
        best = 0.02 * (1 - state["accuracy"]) + 1e-3
        gain = max(0.0, 1 - abs(args.lr - best) / best) * 0.01
        state = {"step": state["step"] + 1, "accuracy": min(1.0, state["accuracy"] + gain)}
        print(f"Validation-accuracy={state['accuracy']:.5f}", flush=True)
    path.write_text(json.dumps(state))


if __name__ == "__main__":
    main()
