"""Batches of large networks through the predictor, beside the same module asked by torch alone on the same device.

`python -m benchmarks throughput [--seconds 5] [--connections 1,4]` (needs torch). A ResNet and a transformer encoder as
TorchScript, on a GPU where torch sees one (ResNet-50, 12 layers of 768; batches of 32), else smaller ones on one thread
of the processor (ResNet-18, 4 layers of 256; batches of 4). Requests are raw tensors of protocol V2 in, out as well.
Torch alone takes its batches from the same memory of the host and gives its answers back there. Printed: rows per
second, p99 of a request, share of torch's own throughput.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.predictor import measure
from benchmarks.servers import V2, free_port, running, server

WARM = 10
RAW = """
import json, sys, time
import torch
from benchmarks.throughput import batch
torch.set_num_threads(1)
device = "cuda" if torch.cuda.is_available() else "cpu"
module = torch.jit.load(sys.argv[1], map_location=device).eval()
given = torch.from_numpy(batch(sys.argv[2], device == "cuda"))
def ask():
    with torch.inference_mode():
        return module(given.to(device)).cpu()
for _ in range(10):
    ask()
count, began = 0, time.monotonic()
while time.monotonic() - began < float(sys.argv[3]):
    ask()
    count += 1
print(json.dumps(count * len(given) / (time.monotonic() - began)))
"""


@dataclass(frozen=True)
class Case:
    """A network, and its size on a GPU and on a processor."""

    name: str
    rows: int

    def file(self, folder: Path, large: bool) -> Path:
        """Write the network as TorchScript."""
        import torch

        torch.manual_seed(0)
        path = folder / "store" / "models" / self.name / "model.pt"
        path.parent.mkdir(parents=True)
        module = (_resnet if self.name == "resnet" else _encoder)(torch.nn, large).eval()
        torch.jit.trace(module, torch.from_numpy(batch(self.name, large)), check_trace=False).save(str(path))
        return path


def batch(name: str, large: bool) -> Any:
    """Return what a request carries: images (rows, 3, 224, 224) as float32, or tokens (rows, 128) as int64."""
    import numpy as np

    random, rows = np.random.default_rng(1), 32 if large else 4
    if name == "resnet":
        return random.random((rows, 3, 224, 224), dtype=np.float32)
    return random.integers(0, 1000, (rows, 128))


def _resnet(nn: Any, large: bool) -> Any:
    """Return a residual network (He et al. 2015): bottlenecks 3-4-6-3 of 50 layers, or plain blocks 2-2-2-2 of 18."""

    class Block(nn.Module):  # type: ignore[misc]
        def __init__(self, taken: int, width: int, stride: int) -> None:
            super().__init__()
            given = width * (4 if large else 1)
            sizes = [(taken, width, 1), (width, width, 3), (width, given, 1)] if large else []
            sizes = sizes or [(taken, width, 3), (width, given, 3)]
            strided = 1 if large else 0
            layers: list[Any] = []
            for at, (one, other, size) in enumerate(sizes):
                step = stride if at == strided else 1
                layers += [nn.Conv2d(one, other, size, step, size // 2, bias=False), nn.BatchNorm2d(other), nn.ReLU()]
            self.body = nn.Sequential(*layers[:-1])
            same = stride == 1 and taken == given
            self.skip = nn.Identity() if same else nn.Conv2d(taken, given, 1, stride, bias=False)
            self.last = nn.ReLU()

        def forward(self, x: Any) -> Any:
            return self.last(self.body(x) + self.skip(x))

    layers: list[Any] = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    taken = 64
    for at, count in enumerate((3, 4, 6, 3) if large else (2, 2, 2, 2)):
        width = 64 << at
        for block in range(count):
            layers.append(Block(taken, width, 2 if at and not block else 1))
            taken = width * (4 if large else 1)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(taken, 1000))


def _encoder(nn: Any, large: bool) -> Any:
    """Return a transformer encoder over tokens, with one vector for each text."""
    width, depth = (768, 12) if large else (256, 4)

    class Encoder(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(1000, width)
            layer = nn.TransformerEncoderLayer(width, width // 64, 4 * width, batch_first=True)
            self.layers = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)

        def forward(self, tokens: Any) -> Any:
            return self.layers(self.table(tokens)).mean(1)

    return Encoder()


def asked(name: str, large: bool) -> tuple[bytes, dict[str, str]]:
    """Return body and headers of a request with raw tensors."""
    array = batch(name, large)
    raw = array.tobytes()
    tensor = {"name": "x", "shape": list(array.shape), "datatype": "FP32" if name == "resnet" else "INT64"}
    tensor["parameters"] = {"binary_data_size": len(raw)}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    return head + raw, {"Inference-Header-Content-Length": str(len(head))}


def main(arguments: list[str] | None = None) -> None:
    """Print figures and shares."""
    parser = argparse.ArgumentParser(prog="benchmarks throughput")
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--connections", default="1,4")
    given = parser.parse_args(arguments or [])
    import torch

    large = torch.cuda.is_available()
    print(f"on {torch.cuda.get_device_name() if large else 'one thread of the processor'}")
    print(f"{'network':<10}{'asked by':<14}{'conns':>6}{'rows/s':>10}{'p99 ms':>9}{'share':>8}")
    with tempfile.TemporaryDirectory(prefix="zeroflow-bench-") as scratch:
        for case in (Case("resnet", 32 if large else 4), Case("encoder", 32 if large else 4)):
            file = case.file(Path(scratch), large)
            raw = _alone(file, case.name, given.seconds)
            print(f"{case.name:<10}{'torch alone':<14}{'':>6}{raw:>10.1f}", flush=True)
            port, sent = free_port(), asked(case.name, large)
            found = server("zeroflow", file, port)
            assert found is not None
            with running(replace(found, path=V2), port, *sent) as (pid, _):
                for lanes in map(int, given.connections.split(",")):
                    ours = measure(pid, port, V2, sent, lanes, given.seconds, WARM)
                    rows = ours.per_s * case.rows
                    line = f"{case.name:<10}{'zeroflow':<14}{lanes:>6}{rows:>10.1f}{ours.p99_ms:>9.1f}"
                    print(f"{line}{rows / raw:>8.2f}", flush=True)


def _alone(file: Path, name: str, seconds: int) -> float:
    command = [sys.executable, "-W", "ignore", "-c", RAW, str(file), name, str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout))


if __name__ == "__main__":
    main(sys.argv[1:])
