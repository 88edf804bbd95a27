"""What a client trains: the `Task` protocol, NumPy in and NumPy out, and how one is found.

No framework is imported here. A task is a class that is called with the path of its
data; `client.tasks.torch_task.TorchTask` makes one of a torch module.

Examples
--------
A complete task, for ``--task path/to/this_file.py:Mean``:

>>> import numpy as np
>>> class Mean:
...     def __init__(self, data):
...         self.values = np.array([1.0, 3.0], np.float32)
...
...     def initial_model(self, seed):
...         return {"mean": np.zeros(1, np.float32)}
...
...     def fit(self, arrays, config):
...         mean = arrays["mean"] + np.float32(config.lr) * (self.values.mean() - arrays["mean"])
...         return {"mean": mean}, len(self.values), {}
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Final, NamedTuple, Protocol, TypeAlias, runtime_checkable

from fedtier.dtypes import Array
from fedtier.problems import StartupError
from fedtier.rounds import ClientSettings, Optimizer


@dataclass(frozen=True, slots=True)
class BuiltIn:
    """A task that comes with the client.

    Parameters
    ----------
    where : str
        ``package.module:Name``.
    dataset : str
        In `client.datasets.catalogue`.
    settings : ClientSettings
        How it is trained where nobody says otherwise.
    """

    where: str
    dataset: str
    settings: ClientSettings


BUILT_IN: Final[Mapping[str, BuiltIn]] = MappingProxyType(
    {
        "mnist_cnn": BuiltIn("client.tasks.mnist_cnn:MnistCnn", "mnist", ClientSettings()),
        "mnist_2nn": BuiltIn("client.tasks.mnist_2nn:Mnist2nn", "mnist", ClientSettings(lr=0.1)),
        "mnist_cnn_large": BuiltIn("client.tasks.mnist_cnn_large:MnistCnnLarge", "mnist", ClientSettings()),
        "tabular_cnn": BuiltIn(
            "client.tasks.tabular_cnn:TabularCnn", "tabular", ClientSettings(optimizer="adam", lr=0.001)
        ),
        "cifar_cnn": BuiltIn("client.tasks.cifar_cnn:CifarCnn", "cifar10", ClientSettings(lr=0.01, momentum=0.9)),
    }
)
"""The tasks that come with the client, by name."""


@dataclass(frozen=True, slots=True)
class FitConfig:
    """How one fit is to be done; a task takes from it what it knows, and says what it leaves out.

    Parameters
    ----------
    round : int
    epochs : int
        Passes over the client's examples.
    batch_size : int
    lr : float
        Learning rate.
    optimizer : {"sgd", "adam"}
    momentum : float
        Of ``sgd``.
    weight_decay : float
        As PyTorch's optimizers have it: this times the weights is added to the gradient.
    prox_mu : float
        FedProx's pull towards the arrays that came in (Li et al. 2020, arXiv:1812.06127): half of it times the
        squared distance is added to the loss.
    seed : int
        In [0, 2**63); of this run, client and round: a fit that draws from it only
        gives the same result each time.
    """

    round: int
    epochs: int
    batch_size: int
    lr: float
    optimizer: Optimizer
    momentum: float
    weight_decay: float
    prox_mu: float
    seed: int


class FitResult(NamedTuple):
    """What a fit made; a plain tuple of these three does as well.

    Parameters
    ----------
    arrays : Mapping of str to ndarray
        Names, shapes and dtypes as they were handed in.
    num_examples : int
        The client's weight in the mean, at least 1.
    metrics : Mapping of str to float
        Finite numbers; ``loss`` and ``accuracy`` are reserved for what they say.
    """

    arrays: Mapping[str, Array]
    num_examples: int
    metrics: Mapping[str, float]


FitOutcome: TypeAlias = FitResult | tuple[Mapping[str, Array], int, Mapping[str, float]]


@runtime_checkable
class Task(Protocol):
    """A model and the data to train it on."""

    def initial_model(self, seed: int) -> dict[str, Array]:
        """Return an untrained model; the same seed gives the same one."""

    def fit(self, arrays: Mapping[str, Array], config: FitConfig) -> FitOutcome:
        """Train from `arrays`, which may be written to; BF16 tensors come and go as float32."""


class Assessment(NamedTuple):
    """How good a model is on a task's data.

    Parameters
    ----------
    metrics : Mapping of str to float
        Finite numbers: ``loss``, ``accuracy`` where there are classes, and what else the task measures.
    examples : int or None
        That it was tested on; None where the task does not say.
    labels : tuple of str
        Names of the classes; empty where the task does not tell classes apart.
    confusion : ndarray of int64, shape [classes, classes], or None
        Row: the true class; column: the class that the model says.
    """

    metrics: Mapping[str, float]
    examples: int | None
    labels: tuple[str, ...] = ()
    confusion: Array | None = None


@runtime_checkable
class EvaluatingTask(Task, Protocol):
    """A task that can also say how good a model is."""

    def evaluate(self, arrays: Mapping[str, Array]) -> Mapping[str, float]:
        """Return a model's ``loss``, ``accuracy`` where there are classes, and other metrics on the task's data."""


@runtime_checkable
class AssessingTask(Task, Protocol):
    """A task that also says which classes a model takes for which."""

    def assess(self, arrays: Mapping[str, Array]) -> Assessment:
        """Return metrics, number of examples and confusion matrix of a model on the task's data."""


def load_task(spec: str, data: Path) -> Task:
    """Find a task and hand it its data.

    Parameters
    ----------
    spec : str
        A built-in name, ``package.module:Name`` or ``path/to/file.py:Name``.
    data : Path
        What `Name` is called with.

    Raises
    ------
    StartupError
        There is no such task, it cannot be imported, it is none, or it refuses the data.
    """
    where, _, name = (BUILT_IN[spec].where if spec in BUILT_IN else spec).rpartition(":")
    if not where or not name:
        known = ", ".join(sorted(BUILT_IN))
        raise StartupError(
            f"the task {spec!r} is neither built in ({known}) nor of the form "
            "package.module:Name or path/to/file.py:Name"
        )
    factory = getattr(_import(spec, where), name, None)
    if not callable(factory):
        raise StartupError(f"the task {spec!r} cannot be loaded: {where} has no class or function {name!r}")
    try:
        task = factory(data)
    except StartupError:
        raise
    except Exception as error:
        raise StartupError(f"the task {spec!r} cannot be made with the data {data}: {_told(error, where)}") from error
    if not isinstance(task, Task):
        missing = [method for method in ("initial_model", "fit") if not hasattr(task, method)]
        raise StartupError(f"{spec!r} is no task: it has no {' and no '.join(missing)}")
    return task


def require_evaluating(task: Task) -> EvaluatingTask | AssessingTask:
    """Return a task that can say how good a model is.

    Raises
    ------
    StartupError
    """
    if not isinstance(task, EvaluatingTask | AssessingTask):
        raise StartupError(
            f"the task {type(task).__name__} cannot evaluate a model: it has no method evaluate and no assess; add one"
        )
    return task


def _import(spec: str, where: str) -> ModuleType:
    is_file = where.endswith(".py")
    if is_file and not Path(where).is_file():
        raise StartupError(f"the task {spec!r} cannot be loaded: there is no file {where}")
    try:
        return _import_file(Path(where)) if is_file else importlib.import_module(where)
    except ImportError as error:
        hint = "; install the client extra, which has torch" if error.name == "torch" else ""
        raise StartupError(f"the task {spec!r} cannot be loaded: {error}{hint}") from error
    except Exception as error:
        raise StartupError(f"the task {spec!r} cannot be loaded: {_told(error, where)}") from error


def _told(error: Exception, where: str) -> str:
    """Return what went wrong in somebody's code on one line, with the line of the task's file that led to it."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename) == Path(where).absolute()]
    place = f"{where}, line {lines[-1]}: " if lines else ""
    return f"{place}{type(error).__name__}: {' '.join(str(error).split())}"


def _import_file(path: Path) -> ModuleType:
    name = f"client_task_{path.stem}"
    found = importlib.util.spec_from_file_location(name, path)
    if found is None or found.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(found)
    # Dataclasses look their module up by name.
    sys.modules[name] = module
    try:
        found.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
