"""The controller of ENAS: an LSTM that writes an architecture layer by layer, trained by REINFORCE.

For each layer it chooses an operation, then for each earlier layer whether to skip to it, by attention. A reward
trains it `controller_train_steps` steps towards the architecture that earned it, against a moving baseline, with an
entropy bonus and a pull of skip connections towards `controller_skip_target`. Small, and on the CPU.
Source: Pham et al., Efficient Neural Architecture Search, 2018; settings of Katib's enas.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

Architecture = list[list[int]]
REWARD_STEPS = "controller_train_steps"


class Controller:
    """Writes architectures and learns what they were worth; the same seed and rewards give the same."""

    def __init__(self, layers: int, operations: int, settings: Mapping[str, float | None], seed: int) -> None:
        self.layers, self.operations, self.settings = layers, operations, settings
        torch.set_num_threads(1)  # the tensors are small: threads would only wait for each other
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._net = _Net(operations, int(settings["controller_hidden_size"] or 64))
        self._optimizer = torch.optim.Adam(self._net.parameters(), lr=float(settings["controller_learning_rate"] or 0))
        self._baseline: float | None = None

    def sample(self, seed: int) -> Architecture:
        """Return an architecture: of each layer its operation, then 0 or 1 for each layer before it."""
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            return self._run(None, generator)[0]

    def learn(self, architecture: Architecture, reward: float) -> None:
        """Train towards an architecture that earned a reward."""
        decay = float(self.settings["controller_baseline_decay"] or 0.0)
        for _ in range(int(self.settings[REWARD_STEPS] or 1)):
            _, log_probability, entropy, penalty = self._run(architecture, None)
            goal = reward + float(self.settings["controller_entropy_weight"] or 0.0) * float(entropy.detach())
            baseline = goal if self._baseline is None else self._baseline
            self._baseline = baseline - (1 - decay) * (baseline - goal)
            loss = -log_probability * (goal - self._baseline)
            loss = loss + float(self.settings["controller_skip_weight"] or 0.0) * penalty
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()

    def _run(
        self, given: Architecture | None, generator: torch.Generator | None
    ) -> tuple[Architecture, Tensor, Tensor, Tensor]:
        """Walk through the layers, choosing or following what is given; return it with what it costs."""
        net = self._net
        state = (torch.zeros(1, net.hidden), torch.zeros(1, net.hidden))
        word = net.start
        anchors: list[Tensor] = []
        chosen: Architecture = []
        log_probability, entropy, penalty = torch.zeros(()), torch.zeros(()), torch.zeros(())
        for layer in range(self.layers):
            state = net.cell(word, state)
            logits = self._tempered(net.choose(state[0]))
            operation, log, ent = _draw(logits, None if given is None else given[layer][0], generator)
            log_probability, entropy = log_probability + log, entropy + ent
            state = net.cell(net.embed(torch.tensor([operation])), state)
            skips: list[int] = []
            for before in range(layer):
                query = torch.tanh(net.key(anchors[before]) + net.query(state[0]))
                weight = self._tempered(net.weigh(query))
                pair = torch.cat([-weight, weight], dim=1)
                skip, log, ent = _draw(pair, None if given is None else given[layer][1 + before], generator)
                log_probability, entropy = log_probability + log, entropy + ent
                penalty = penalty + self._divergence(pair)
                skips.append(skip)
            anchors.append(state[0])
            linked = [anchors[before] for before, skip in enumerate(skips) if skip]
            word = torch.stack(linked).mean(0) if linked else net.start
            chosen.append([operation, *skips])
        return chosen, log_probability, entropy, penalty

    def _tempered(self, logits: Tensor) -> Tensor:
        temperature, limit = self.settings["controller_temperature"], self.settings["controller_tanh_const"]
        logits = logits / temperature if temperature else logits
        return limit * torch.tanh(logits) if limit else logits

    def _divergence(self, pair: Tensor) -> Tensor:
        """Return how far the probability to skip is from what it should be (Kullback-Leibler)."""
        target = min(max(float(self.settings["controller_skip_target"] or 0.0), 1e-6), 1 - 1e-6)
        probability = torch.softmax(pair, dim=1)[0, 1].clamp(1e-6, 1 - 1e-6)
        return probability * torch.log(probability / target) + (1 - probability) * torch.log(
            (1 - probability) / (1 - target)
        )


class _Net:
    """The controller's weights, all between -0.1 and 0.1 at first."""

    def __init__(self, operations: int, hidden: int) -> None:
        self.hidden = hidden
        self.cell = nn.LSTMCell(hidden, hidden)
        self.start = nn.Parameter(torch.empty(1, hidden))
        self.embed = nn.Embedding(operations, hidden)
        self.choose = nn.Linear(hidden, operations, bias=False)
        self.key, self.query = nn.Linear(hidden, hidden, bias=False), nn.Linear(hidden, hidden, bias=False)
        self.weigh = nn.Linear(hidden, 1, bias=False)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -0.1, 0.1)

    def parameters(self) -> Iterator[Any]:
        """Yield every weight."""
        yield self.start
        for layer in (self.cell, self.embed, self.choose, self.key, self.query, self.weigh):
            yield from layer.parameters()


def _draw(logits: Tensor, given: int | None, generator: torch.Generator | None) -> tuple[int, Tensor, Tensor]:
    logs = torch.log_softmax(logits, dim=1)[0]
    if given is None:
        given = int(torch.multinomial(logs.exp(), 1, generator=generator).item())
    entropy = -(logs.exp() * logs).sum()
    return given, logs[given], entropy if math.isfinite(float(entropy.detach())) else torch.zeros(())
