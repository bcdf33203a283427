"""Stands for Katib's image pytorch-mnist-cpu: the same command line and the same output, on digits of scikit-learn.

    zeroflow images map ghcr.io/kubeflow/katib/pytorch-mnist-cpu examples/tuning/images/pytorch-mnist

A softmax regression by plain numpy, so that it needs no download and ends in a moment.
"""

import argparse
import json
import logging

import numpy as np
from sklearn.datasets import load_digits

logger = logging.getLogger()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--momentum", type=float, default=0.5)
    parser.add_argument("--log-path", default="")
    parser.add_argument("--logger", choices=["standard", "hypertune"], default="standard")
    args = parser.parse_args()
    to_file = args.log_path if args.logger == "standard" else ""
    logging.basicConfig(
        format="%(asctime)s %(levelname)-8s %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%SZ",
        level=logging.INFO,
        **({"filename": to_file} if to_file else {}),
    )
    digits = load_digits()
    images, labels = digits.data / 16.0, digits.target
    train, test = slice(0, 1400), slice(1400, None)
    weights, speed = np.zeros((65, 10)), np.zeros((65, 10))
    for epoch in range(1, args.epochs + 1):
        order = np.random.default_rng(epoch).permutation(1400)
        for number, at in enumerate(range(0, 1400, args.batch_size)):
            batch = order[at : at + args.batch_size]
            loss, gradient = loss_of(weights, images[train][batch], labels[train][batch])
            speed = args.momentum * speed - args.lr * gradient
            weights = weights + speed
            if number % 10 == 0:
                logger.info("Train Epoch: %d [%d/1400]\tloss=%.4f", epoch, at, loss)
        loss, _ = loss_of(weights, images[test], labels[test])
        accuracy = float((scores(weights, images[test]).argmax(1) == labels[test]).mean())
        logger.info("{metricName: accuracy, metricValue: %.4f};{metricName: loss, metricValue: %.4f}", accuracy, loss)
        if args.logger == "hypertune" and args.log_path:
            with open(args.log_path, "a") as file:
                for name, value in (("loss", loss), ("accuracy", accuracy)):
                    file.write(json.dumps({"global_step": str(epoch), name: f"{value:.4f}"}) + "\n")


def scores(weights: np.ndarray, images: np.ndarray) -> np.ndarray:
    return np.c_[images, np.ones(len(images))] @ weights


def loss_of(weights: np.ndarray, images: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    found = scores(weights, images)
    found = np.exp(found - found.max(1, keepdims=True))
    found /= found.sum(1, keepdims=True)
    loss = float(-np.log(found[np.arange(len(labels)), labels] + 1e-12).mean())
    found[np.arange(len(labels)), labels] -= 1
    return loss, np.c_[images, np.ones(len(images))].T @ found / len(labels)


if __name__ == "__main__":
    main()
