"""What `make bench` measured: figures by workload, server and round, and the model of a broadcast's cost."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from .plots import number_of

SERVERS: Final = {
    "sluice": "Sluice, directly to Daphne",
    "sluice-nginx": "Sluice, through nginx",
    "nchan": "nchan (C, in nginx)",
    "ws": "ws (Node.js)",
    "socketio": "Socket.IO (Node.js)",
    "uvicorn": "uvicorn, a bare list of sockets",
    "channels-redis": "Channels, channels_redis",
    "channels-rabbitmq": "Channels, channels_rabbitmq",
}
SIZES: Final = (100, 1000, 5000)


class Data:
    """The figures."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.data = data

    def has(self, workload: str) -> bool:
        """Whether it was measured."""
        return bool(self.data.get(workload, {}).get("figures"))

    def about(self, workload: str) -> dict[str, Any]:
        """When, on what, and how often."""
        found: dict[str, Any] = self.data[workload]["about"]
        return found

    def servers(self, workload: str, what: str) -> list[str]:
        """The servers that were measured, in the page's order."""
        known = self.data[workload]["figures"].get(f"{workload} {what}", {})
        return [name for name in SERVERS if name in known]

    def values(self, workload: str, what: str, server: str, name: str) -> list[float]:
        """A figure, one for each round; empty if it was not measured."""
        key = f"{workload} {what}".strip()
        found: list[float] = self.data[workload]["figures"].get(key, {}).get(server, {}).get(name, [])
        return found

    def median(self, workload: str, what: str, server: str, name: str) -> float:
        """Its median over the rounds."""
        return statistics.median(self.values(workload, what, server, name) or [0.0])

    def cell(self, workload: str, what: str, server: str, name: str, factor: float = 1.0) -> str:
        """Median and spread, as a table has it."""
        values = [factor * value for value in self.values(workload, what, server, name)]
        if not values:
            return "–"
        text = number_of(statistics.median(values))
        return text if len(values) == 1 else f"{text} [{number_of(min(values))}–{number_of(max(values))}]"

    @staticmethod
    def ratio(server: str, measure: Callable[[str], list[float]]) -> str:
        """The median of the rounds' ratios to Sluice, directly; of the medians, if a round was refused."""
        ours, theirs = measure("sluice"), measure(server)
        if len(ours) != len(theirs):
            ours, theirs = [[statistics.median(one)] if one else [] for one in (ours, theirs)]
        ratios = [their / our for our, their in zip(ours, theirs, strict=False) if our > 0]
        return f"{statistics.median(ratios):.2f}" if ratios else "–"

    def cpu(self, workload: str, what: str, server: str, suffix: str) -> list[float]:
        """CPU of the server and, where it is in the way, of nginx, by round."""
        parts = [self.values(workload, what, server, f"{who}_{suffix}") for who in ("server", "nginx")]
        return [sum(row) for row in zip(*(part for part in parts if part), strict=False)]


@dataclass(frozen=True)
class Model:
    """cost = a + b · clients, by least squares through the medians at 100, 1,000 and 5,000 clients."""

    a: float
    b: float

    @classmethod
    def through(cls, points: Sequence[tuple[float, float]]) -> Model:
        """The line with the least relative errors: small sizes count as much as large ones."""
        weights = [1 / max(cost, 1e-9) ** 2 for _, cost in points]
        total = sum(weights)
        mean_x = sum(w * x for w, (x, _) in zip(weights, points, strict=True)) / total
        mean_y = sum(w * y for w, (_, y) in zip(weights, points, strict=True)) / total
        over = sum(w * (x - mean_x) * (y - mean_y) for w, (x, y) in zip(weights, points, strict=True))
        under = sum(w * (x - mean_x) ** 2 for w, (x, _) in zip(weights, points, strict=True))
        b = over / under
        return cls(mean_y - b * mean_x, b)

    def at(self, clients: float) -> float:
        """The cost for so many."""
        return max(0.0, self.a + self.b * clients)


def broadcasts(data: Data, server: str, who: str) -> list[tuple[float, float]]:
    """Clients, and CPU milliseconds of a broadcast to them; of the sizes that were measured."""
    costs = {
        size: data.values("broadcast", f"single-{size}", server, f"{who}_us_per_frame") for size in SIZES
    }
    return [(size, size * statistics.median(values) / 1000) for size, values in costs.items() if values]


def is_modelled(data: Data, server: str, who: str) -> bool:
    """Whether there are enough sizes for a line."""
    return data.has("broadcast") and len(broadcasts(data, server, who)) > 1


def broadcast_cost(data: Data, server: str, who: str) -> Model:
    """CPU milliseconds of a broadcast."""
    return Model.through(broadcasts(data, server, who))
