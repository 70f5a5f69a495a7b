"""docs/explanation/performance.md: its tables and plots are those of its data."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bench.measured import SERVERS, SIZES, Data, Model
from bench.page import page, plots
from config.host_shell import SOURCE

FOLDER = SOURCE / "docs/explanation"


def written() -> dict[str, Any]:
    data: dict[str, Any] = json.loads((FOLDER / "performance.json").read_text())
    return data


def test_the_page_is_written_from_its_data() -> None:
    assert (FOLDER / "performance.md").read_text() == page(Data(written())), "run: make figures"


def test_the_plots_are_drawn_from_its_data() -> None:
    drawn = plots(Data(written()))
    assert {file.name: file.read_text() for file in FOLDER.glob("*.svg")} == drawn


def test_the_model_is_the_line_through_the_points() -> None:
    model = Model.through([(100, 2.5), (1000, 16.0), (5000, 76.0)])
    assert (round(model.a, 6), round(model.b, 6)) == (1.0, 0.015)
    assert model.at(2000) == pytest.approx(31.0)


def test_every_figure_of_a_complete_run_is_in_the_page() -> None:
    """With made-up values, so that a workload that is missing in the data doesn't hide a table."""
    text = page(Data(made_up()))
    assert "Not measured yet" not in text
    for server in SERVERS.values():
        assert text.count(f"| {server} |") == len(SIZES) + 2, server
    assert "6.25 [5.25–7.25]" in text
    assert set(plots(Data(made_up()))) == {"broadcast.svg", "idle.svg", "growth.svg", "storms.svg"}


def made_up() -> dict[str, Any]:
    about = {"when": "2026-01-01 00:00", "commit": "0", "rounds": 3, "cores": 2, "memory_gib": 24}
    about |= {"processor": "a", "load_average": 0.1}

    def figures(*names: str) -> dict[str, list[float]]:
        return {name: [6.25, 5.25, 7.25] for name in names}

    single = ["p50_ms", "p99_ms", "last_ms", "frames_per_s", "server_us_per_frame", "nginx_us_per_frame"]
    idle = [f"{who}_{name}" for who in ("server", "nginx") for name in ("kib", "us_per_s", "base_mib")]
    whats = {f"broadcast single-{size}": single for size in SIZES} | {"broadcast burst-1000": single}
    whats |= {"broadcast connect-5000": ["per_s", "server_us", "nginx_us"], "broadcast idle-5000": idle}
    storm = ["back_p50_s", "back_p95_s", "back_last_s", "after_up_s", "not_back", "failed", "lost", "killed"]
    storm += ["peak_mib", "requests_p99_ms"]
    cases = ("cut", "kill", "restart")
    run = {"clients": 5000, "back": 5000, "back_s": {"last": 9.0}, "curve": [[0, 0], [9, 5000]]}
    run |= {"services": {"asgi": {"peak_mib": 200.0}}}
    return {
        "broadcast": {
            "about": about,
            "figures": {
                what: {server: figures(*names) for server in SERVERS} for what, names in whats.items()
            },
            "refused": [],
        },
        "storms": {
            "about": about,
            "figures": {f"storms {case}": {"sluice-nginx": figures(*storm)} for case in cases},
            "refused": [],
            "runs": [run | {"case": case} for case in cases],
        },
        "message": {"about": about, "figures": {"message": {"sluice-nginx": figures("p50_ms", "p99_ms")}}},
    }
