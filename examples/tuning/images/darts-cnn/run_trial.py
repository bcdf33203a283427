"""Stands for Katib's image darts-cnn-cifar10: differentiable architecture search, small, on digits of scikit-learn.

    zeroflow images map ghcr.io/kubeflow/katib/darts-cnn-cifar10-cpu examples/tuning/images/darts-cnn

A cell is a graph of `num_nodes` nodes; each edge mixes all operations of the search space by the softmax of its alphas.
Weights learn on one half of the images, alphas on the other (first order). What is left are each node's two strongest
edges with their best operation: the genotype. Needs torch.
"""

import argparse
import json

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional


def operation(name: str, channels: int) -> nn.Module:
    kind, _, size = name.rpartition("_")
    if name == "skip_connection":
        return nn.Identity()
    width = int(size.split("x")[0])
    pad = width // 2
    return {
        "max_pooling": lambda: nn.MaxPool2d(width, 1, pad),
        "avg_pooling": lambda: nn.AvgPool2d(width, 1, pad),
        "separable_convolution": lambda: nn.Sequential(
            nn.Conv2d(channels, channels, width, padding=pad, groups=channels), nn.Conv2d(channels, channels, 1)
        ),
        "dilated_convolution": lambda: nn.Conv2d(channels, channels, width, padding=2 * pad, dilation=2),
    }[kind]()


class Cell(nn.Module):
    def __init__(self, operations: list[str], nodes: int, channels: int) -> None:
        super().__init__()
        self.nodes = nodes
        self.edges = nn.ModuleDict(
            {
                f"{source}-{node}": nn.ModuleList([operation(name, channels) for name in operations])
                for node in range(1, nodes + 1)
                for source in range(node)
            }
        )

    def forward(self, images: torch.Tensor, alphas: nn.ParameterDict) -> torch.Tensor:
        states = [images]
        for node in range(1, self.nodes + 1):
            total = 0
            for source in range(node):
                edge = f"{source}-{node}"
                weights = torch.softmax(alphas[edge], 0)
                total = total + sum(w * op(states[source]) for w, op in zip(weights, self.edges[edge], strict=True))
            states.append(total)
        return torch.stack(states[1:]).mean(0)


class SuperNet(nn.Module):
    def __init__(self, operations: list[str], layers: int, nodes: int, channels: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, channels, 3, padding=1)
        self.cells = nn.ModuleList([Cell(operations, nodes, channels) for _ in range(layers)])
        self.head = nn.Linear(channels, 10)
        self.alphas = nn.ParameterDict(
            {edge: nn.Parameter(1e-3 * torch.randn(len(operations))) for edge in self.cells[0].edges}
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found = self.stem(images)
        for cell in self.cells:
            found = torch.relu(cell(found, self.alphas))
        return self.head(found.mean((2, 3)))

    def genotype(self, operations: list[str]) -> str:
        nodes: dict[int, list[tuple[float, str, int]]] = {}
        for edge, alphas in self.alphas.items():
            source, node = map(int, edge.split("-"))
            weights = torch.softmax(alphas, 0)
            best = int(weights.argmax())
            nodes.setdefault(node, []).append((float(weights[best]), operations[best], source))
        kept = [[(name, source) for _, name, source in sorted(each, reverse=True)[:2]] for each in nodes.values()]
        return f"Genotype(normal={kept}, normal_concat=range(1, {len(nodes) + 1}))"


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("--algorithm-settings", "--search-space", "--num-layers"):
        parser.add_argument(name, required=True)
    args = parser.parse_args()
    settings, space = (
        json.loads(text.strip('"').replace("'", '"')) for text in (args.algorithm_settings, args.search_space)
    )
    torch.set_num_threads(1)
    torch.manual_seed(0)
    channels = int(settings["init_channels"]) * int(settings["stem_multiplier"])
    net = SuperNet(space, int(args.num_layers.strip('"')), int(settings["num_nodes"]), channels)
    digits = load_digits()
    images, labels = torch.tensor(digits.images / 16.0).float()[:, None], torch.tensor(digits.target)
    weights = [each for name, each in net.named_parameters() if not name.startswith("alphas")]
    learn = torch.optim.SGD(weights, float(settings["w_lr"]), float(settings["w_momentum"]))
    search = torch.optim.Adam(net.alphas.parameters(), float(settings["alpha_lr"]))
    size, best = int(settings["batch_size"] or 128), 0.0
    for epoch in range(int(settings["num_epochs"])):
        order = torch.randperm(1400, generator=torch.Generator().manual_seed(epoch))
        for at in range(0, 700, size):
            for optimizer, batch in ((search, order[700 + at :][:size]), (learn, order[at : min(at + size, 700)])):
                optimizer.zero_grad()
                loss = functional.cross_entropy(net(images[batch]), labels[batch])
                loss.backward()
                nn.utils.clip_grad_norm_(weights, float(settings["w_grad_clip"]))
                optimizer.step()
        with torch.no_grad():
            accuracy = float((net(images[1400:]).argmax(1) == labels[1400:]).float().mean())
        best = max(best, accuracy)
        print(f"epoch {epoch + 1}: Validation-Accuracy={accuracy:.4f}", flush=True)
    print(f"Best-Accuracy={best:.4f}")
    print(f"Best-Genotype={net.genotype(space)}")


if __name__ == "__main__":
    main()
