"""Makes a task of a torch module and its data.

Examples
--------
Your own model and data in one file, for ``--task path/to/this_file.py:MyTask``::

    import numpy as np
    import torch
    from client.tasks.torch_task import Examples, TorchTask

    class MyTask(TorchTask):
        def build_model(self):
            return torch.nn.Linear(4, 3)

        def load_examples(self, data):
            table = np.loadtxt(data, delimiter=",", dtype=np.float32)
            return Examples(torch.from_numpy(table[:, :4]), torch.from_numpy(table[:, 4]).long())
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Final, NamedTuple

import numpy as np
import torch

from client.task import Assessment, FitConfig, FitResult
from client.tasks.confusion import ConfusionCounts
from client.tasks.descent import Descent
from fedtier.dtypes import Array
from fedtier.problems import SchemaMismatch, StartupError

_EVALUATION_BATCH: Final = 1000


class Examples(NamedTuple):
    """Inputs and targets, one row per example.

    Parameters
    ----------
    inputs : Tensor
        Any dtype and shape ``[num_examples, ...]``; `TorchTask.prepare` sees a batch of it.
    targets : Tensor
        Shape ``[num_examples, ...]``.
    """

    inputs: torch.Tensor
    targets: torch.Tensor


class TorchTask(ABC):
    """A task whose model is a torch module; subclasses say which, and which data.

    A fit gives the same bits each time on one machine: everything random is drawn
    from the seed it is given, algorithms are the deterministic ones, and the number
    of threads is fixed, because sums over threads round differently.

    Parameters
    ----------
    data : Path
        Handed to `load_examples`.
    threads : int
        That torch may use; 1 by default, since clients often share a machine.
    device : str, optional
        As torch names it; by default a GPU when there is one.

    Attributes
    ----------
    label_names : tuple of str
        Of the class: names of the classes that the model's outputs tell apart. A subclass that sets it gets
        a confusion matrix with its assessment.
    """

    label_names: ClassVar[tuple[str, ...]] = ()

    def __init__(self, data: Path, *, threads: int = 1, device: str | None = None) -> None:
        self._threads = threads
        self._device = torch.device(device or _best_device())
        inputs, targets = self.load_examples(data)
        if len(inputs) != len(targets) or len(inputs) == 0:
            raise StartupError(
                f"{data} has {len(inputs)} inputs and {len(targets)} targets, wanted as many, at least 1"
            )
        self._inputs, self._targets = inputs.to(self._device), targets.to(self._device)

    @abstractmethod
    def build_model(self) -> torch.nn.Module:
        """Return the module, with fresh weights."""

    @abstractmethod
    def load_examples(self, data: Path) -> Examples:
        """Return the examples that the task's data holds."""

    def prepare(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return a batch of inputs as the module takes it."""
        return inputs

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean loss of a batch, a scalar; cross-entropy unless overridden."""
        return torch.nn.functional.cross_entropy(outputs, targets)

    def scores(self, outputs: torch.Tensor, targets: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """Return other metrics, each summed over the batch.

        Unless overridden ``accuracy``, the part of each example's targets that the largest output hits, where the
        targets are classes, as cross-entropy takes them; none where they are anything else.
        """
        if targets.is_floating_point() or outputs.ndim != targets.ndim + 1 or outputs.shape[1] < 2:
            return {}
        hits = outputs.argmax(dim=1) == targets
        return {"accuracy": hits.sum() if hits.ndim == 1 else hits.flatten(start_dim=1).float().mean(dim=1).sum()}

    def initial_model(self, seed: int) -> dict[str, Array]:
        """Return the module's untrained state."""
        with self._reproducible(seed):
            return _arrays_of(self.build_model())

    def fit(self, arrays: Mapping[str, Array], config: FitConfig) -> FitResult:
        """Train batch by batch as `Descent` does it; the metrics are those of the last epoch."""
        with self._reproducible(config.seed):
            model = self._model_from(arrays).train()
            descent = Descent(model, config)
            order = torch.Generator().manual_seed(config.seed)
            metrics: dict[str, float] = {}
            for _ in range(config.epochs):
                shuffled = torch.randperm(len(self._inputs), generator=order)
                metrics = self._epoch(model, descent, torch.split(shuffled, config.batch_size))
            return FitResult(_arrays_of(model), len(self._inputs), metrics)

    def evaluate(self, arrays: Mapping[str, Array]) -> Mapping[str, float]:
        """Return loss and scores over all examples."""
        return self._tested(arrays).metrics

    def assess(self, arrays: Mapping[str, Array]) -> Assessment:
        """Return loss, scores and, where the classes have names, the confusion matrix over all examples.

        Raises
        ------
        SchemaMismatch
            The model is not one of the task.
        StartupError
            `label_names` does not fit the model or the targets.
        """
        assessment = self._tested(arrays)
        if type(self).evaluate is TorchTask.evaluate:
            return assessment
        # A subclass says itself how good a model is; what it says holds, for a pass more over the examples.
        return assessment._replace(metrics=self.evaluate(arrays))

    def _tested(self, arrays: Mapping[str, Array]) -> Assessment:
        with self._reproducible(0), torch.no_grad():
            model = self._model_from(arrays).eval()
            totals = _Totals()
            confusion = ConfusionCounts(self.label_names) if self.label_names else None
            for indices in torch.split(torch.arange(len(self._inputs)), _EVALUATION_BATCH):
                inputs, targets = self._batch(indices)
                outputs = model(inputs)
                totals.add(self.loss(outputs, targets), self.scores(outputs, targets), len(indices))
                if confusion is not None:
                    confusion.add(outputs, targets)
            matrix = None if confusion is None else confusion.matrix()
            return Assessment(totals.means(), len(self._inputs), self.label_names, matrix)

    def _epoch(self, model: torch.nn.Module, descent: Descent, batches: Sequence[torch.Tensor]) -> dict[str, float]:
        totals = _Totals()
        for indices in batches:
            inputs, targets = self._batch(indices)
            outputs = model(inputs)
            loss = self.loss(outputs, targets)
            descent.step(loss)
            totals.add(loss.detach(), self.scores(outputs.detach(), targets), len(indices))
        return totals.means()

    def _batch(self, indices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        chosen = indices.to(self._device)
        return self.prepare(self._inputs[chosen]), self._targets[chosen]

    def _model_from(self, arrays: Mapping[str, Array]) -> torch.nn.Module:
        model = self.build_model()
        wanted = {name: list(value.shape) for name, value in model.state_dict().items()}
        given = {name: list(array.shape) for name, array in arrays.items()}
        for name in sorted(wanted.keys() | given.keys()):
            if wanted.get(name) != given.get(name):
                raise SchemaMismatch(
                    f"the model is not one of the task {type(self).__name__}: tensor {name!r} is "
                    f"{given.get(name, 'absent')} in the model and {wanted.get(name, 'absent')} in the task"
                )
        model.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in arrays.items()})
        return model.to(self._device)

    @contextmanager
    def _reproducible(self, seed: int) -> Iterator[None]:
        """Seed torch, and make it compute the same bits each time; leave the process as it was."""
        cuda = self._device.type == "cuda"
        if cuda:
            # cuBLAS reads it when it is first used: https://docs.nvidia.com/cuda/cublas, "Results Reproducibility".
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
        torch.set_num_threads(self._threads)
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            with torch.random.fork_rng(devices=[self._device] if cuda else []):
                torch.manual_seed(seed)
                yield
        finally:
            torch.use_deterministic_algorithms(deterministic)
            torch.set_num_threads(threads)


class _Totals:
    """Sums of metrics; they stay on the device until the mean is asked for, so no batch waits for it."""

    def __init__(self) -> None:
        self._sums: dict[str, torch.Tensor] = {}
        self._examples = 0

    def add(self, mean_loss: torch.Tensor, scores: Mapping[str, torch.Tensor], examples: int) -> None:
        for name, value in {"loss": mean_loss * examples, **scores}.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._examples += examples

    def means(self) -> dict[str, float]:
        return {name: float(value) / self._examples for name, value in self._sums.items()}


def _arrays_of(model: torch.nn.Module) -> dict[str, Array]:
    """Return a module's state as NumPy arrays; bfloat16, which NumPy lacks, as float32."""
    arrays = {}
    for name, value in model.state_dict().items():
        tensor = value.detach().cpu()
        arrays[name] = np.array((tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy(), order="C")
    return arrays


def _best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
