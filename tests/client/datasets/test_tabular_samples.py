"""The sample rows that the package has."""

from __future__ import annotations

import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import numpy.typing as npt

from client.datasets.catalogue import Origin, dataset_named

ROOT = Path(__file__).parents[3]


def test_the_sample_rows_are_those_that_the_script_makes(tmp_path: Path) -> None:
    script = ROOT / "scripts" / "make_tabular_samples.py"

    subprocess.run([sys.executable, script, tmp_path], check=True)

    shipped = files("client.datasets") / "samples"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        file.name: file.read_bytes() for file in shipped.iterdir()
    }


def test_the_sample_rows_have_the_layout_of_the_data_set_and_both_classes(tmp_path: Path) -> None:
    tabular = dataset_named("tabular")

    split = tabular.load(Origin(cache=tmp_path))

    assert split.train.inputs.shape == (1612, *tabular.layout.shape)
    assert split.test.inputs.shape == (403, *tabular.layout.shape)
    for shard in (split.train, split.test):
        assert 0.45 < shard.labels.mean() < 0.55
    # Columns of very different magnitudes, as counts and times have.
    assert np.median(split.train.inputs, axis=0).max() > 1000 * np.median(split.train.inputs, axis=0).min()


def test_a_straight_line_tells_nearly_all_sample_rows_apart_but_not_all(tmp_path: Path) -> None:
    split = dataset_named("tabular").load(Origin(cache=tmp_path))

    weights, threshold = discriminant(np.log1p(split.train.inputs.astype(np.float64)), split.train.labels)
    said = np.log1p(split.test.inputs) @ weights > threshold

    assert 0.94 < (said == split.test.labels).mean() < 0.985


def discriminant(rows: npt.NDArray[np.float64], labels: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float64], float]:
    """Return Fisher's linear discriminant of two classes, and where it cuts."""
    means = [rows[labels == label].mean(axis=0) for label in (0, 1)]
    scatter = np.cov((rows - np.where(labels[:, None] == 1, means[1], means[0])).T)
    weights = np.linalg.solve(scatter, means[1] - means[0])
    return weights, float(weights @ (means[0] + means[1]) / 2)
