"""The page on operating lists exactly the metrics that programs expose."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from client.metrics import ClientMetrics
from fedtier.metrics import Metrics, RoundView
from fedtier.serving.front.connection_metrics import FrontView
from fedtier.serving.metrics import AggregatorMetrics
from fedtier.serving.shares import TransferSlots
from fedtier.serving.statedir import StateDirectory
from master_aggregator.metrics import MasterMetrics
from tests.scrapes import Scrape
from worker_aggregator.metrics import WorkerMetrics

PAGE = (Path(__file__).parents[1] / "docs" / "operating.md").read_text()
_ROW = re.compile(r"\| `(fedtier_\w+)` \| (\w+) \|([^|]*)\| ([^|]*) \| [^|]+ \|")


def listed(tier: str) -> dict[str, tuple[str, set[str]]]:
    """Return the type and the labels of each metric that the page lists for a tier."""
    rows = _ROW.findall(PAGE)
    assert len({name for name, *_ in rows}) == len(rows)
    return {
        name: (kind, set(labels.replace("`", "").split()))
        for name, kind, labels, tiers in rows
        if tier in tiers.split()
    }


def exposed(metrics: Metrics) -> dict[str, tuple[str, set[str]]]:
    """Return the type and the labels of each metric of ours, once all labels have a value."""
    metrics.round.look = lambda: RoundView(1, 1, 0, 1, "collecting", 0.0)
    metrics.refusals.add("round-over")
    metrics.retries.add("s3")
    if isinstance(metrics, AggregatorMetrics):
        metrics.answered("/metrics", "GET", 200, 0.1)
        metrics.connections.look = lambda: FrontView(2, 1, {"head": 1}, 1)
    if isinstance(metrics, WorkerMetrics):
        metrics.batches.add("counted")
    found = {}
    for family in Scrape.of(metrics).families:
        total = "_total" if family.type == "counter" else ""
        labels = {name for sample in family.samples for name in sample.labels} - {"le"}
        found[family.name + total] = family.type, labels
    return {name: known for name, known in found.items() if not name.startswith("process_")}


@pytest.mark.parametrize("tier", ["client", "worker", "master"])
def test_the_page_lists_what_there_is_and_nothing_else(tmp_path: Path, tier: str) -> None:
    made: dict[str, Metrics] = {
        "client": ClientMetrics(lambda: 0.0),
        "worker": WorkerMetrics(lambda: 0.0),
        "master": MasterMetrics(),
    }
    metrics = made[tier]
    if isinstance(metrics, AggregatorMetrics):
        metrics.watch(TransferSlots(1), StateDirectory(tmp_path))
    assert exposed(metrics) == listed(tier)


@pytest.mark.parametrize("tier", ["client", "worker", "master"])
def test_names_have_our_prefix_and_their_unit(tier: str) -> None:
    for name, (kind, _) in listed(tier).items():
        assert name.endswith("_total") == (kind == "counter"), name
        assert kind != "histogram" or name.endswith(("_seconds", "_bytes", "_contributors")), name


def test_examples_name_metrics_and_labels_that_there_are() -> None:
    blocks = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]
    assert [list(block) for block in blocks] == [["scrape_configs"], ["groups"]]
    known = {name for tier in ("client", "worker", "master") for name in listed(tier)}
    rules = blocks[1]["groups"][0]["rules"]
    for rule in rules:
        assert set(re.findall(r"fedtier_\w+", rule["expr"])) <= known, rule["alert"]
        assert rule["annotations"]["summary"]
