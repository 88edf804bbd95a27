"""What a scrape of ``/metrics`` holds, read with Prometheus's own parser."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from fedtier.metrics import Metrics


class Scrape:
    """Samples by name and labels."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.families = list(text_string_to_metric_families(text))
        self._samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families
            for sample in family.samples
        }

    @classmethod
    def of(cls, metrics: Metrics) -> Scrape:
        return cls(metrics.exposition("")[0].decode())

    def __call__(self, name: str, **labels: str) -> float:
        """Return the value of ``fedtier_<name>`` with exactly these labels; 0 where nothing was counted."""
        return self._samples.get((f"fedtier_{name}", frozenset(labels.items())), 0.0)

    def labels(self, name: str) -> set[str]:
        """Return all values of all labels of ``fedtier_<name>``."""
        return {value for key, labels in self._samples for _, value in labels if key == f"fedtier_{name}"}

    def uploads(self, kind: str) -> dict[str, float]:
        """Return how many uploads of a kind had which outcome, without those that none had."""
        outcomes = self.labels("uploads_total") - {"update", "partial"}
        numbers = {outcome: self("uploads_total", kind=kind, outcome=outcome) for outcome in outcomes}
        return {outcome: number for outcome, number in numbers.items() if number}

    def reasons(self, name: str) -> dict[str, float]:
        """Return the numbers of ``fedtier_<name>`` by reason."""
        return {reason: self(name, reason=reason) for reason in self.labels(name)}
