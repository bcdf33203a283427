"""Stands for Katib's image enas-cnn-cifar10: builds the architecture that it is told and trains it, small, on digits.

    zeroflow images map ghcr.io/kubeflow/katib/enas-cnn-cifar10-cpu examples/tuning/images/enas-cnn

`architecture` has a list for each layer: the operation, then for each earlier layer whether its output is added.
`nn_config` says what the operations are. Needs torch.
"""

import argparse
import json

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

CHANNELS = 8


def operation(described: dict) -> nn.Module:
    kind, given = described["opt_type"], described["opt_params"]
    if kind == "reduction":
        size = int(given["pool_size"])
        pool = nn.MaxPool2d if given["reduction_type"] == "max_pooling" else nn.AvgPool2d
        return pool(size, 1, size // 2)
    width = int(given["filter_size"])
    if kind == "convolution":
        return nn.Conv2d(CHANNELS, CHANNELS, width, padding=width // 2)
    deep = nn.Conv2d(CHANNELS, CHANNELS, width, padding=width // 2, groups=CHANNELS)
    return deep if kind == "depthwise_convolution" else nn.Sequential(deep, nn.Conv2d(CHANNELS, CHANNELS, 1))


class Child(nn.Module):
    def __init__(self, architecture: list[list[int]], config: dict) -> None:
        super().__init__()
        self.architecture = architecture
        self.stem = nn.Conv2d(1, CHANNELS, 3, padding=1)
        self.layers = nn.ModuleList([operation(config["embedding"][str(layer[0])]) for layer in architecture])
        self.head = nn.Linear(CHANNELS, config["output_sizes"][-1])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found, before = self.stem(images), []
        for (_, *skips), layer in zip(self.architecture, self.layers, strict=True):
            found = torch.relu(layer(found))[:, :, :8, :8]
            found = found + sum(each for each, skip in zip(before, skips, strict=True) if skip)
            before.append(found)
        return self.head(found.mean((2, 3)))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--architecture", required=True)
    parser.add_argument("--nn_config", required=True)
    parser.add_argument("--num_epochs", type=int, default=1)
    args = parser.parse_args()
    architecture, config = (
        json.loads(text.strip('"').replace("'", '"')) for text in (args.architecture, args.nn_config)
    )
    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = Child(architecture, config)
    digits = load_digits()
    images, labels = torch.tensor(digits.images / 16.0).float()[:, None], torch.tensor(digits.target)
    learn = torch.optim.Adam(net.parameters(), 0.01)
    for epoch in range(args.num_epochs):
        for batch in torch.randperm(1400).split(64):
            learn.zero_grad()
            functional.cross_entropy(net(images[batch]), labels[batch]).backward()
            learn.step()
        with torch.no_grad():
            right = (net(images).argmax(1) == labels).float()
        print(f"Epoch {epoch + 1}: Training-Accuracy={right[:1400].mean():.4f}", flush=True)
        print(f"Validation-Accuracy={right[1400:].mean():.4f}", flush=True)


if __name__ == "__main__":
    main()
