"""What the tuned FLARE job's server is made of: an opening model that nobody saves, and a sum in place."""

from __future__ import annotations

from nvflare.apis.fl_constant import FLMetaKey
from nvflare.apis.fl_context import FLContext
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from nvflare.app_common.abstract.model import ModelLearnable, make_model_learnable
from nvflare.app_common.abstract.model_persistor import ModelPersistor
from nvflare.app_common.aggregators.model_aggregator import ModelAggregator

from benchmarks.peers.apps.summing import WeightedSum
from benchmarks.peers.work import saved_work


class Opening(ModelPersistor):
    """Gives the run's opening model, as tensors that travel one by one, and writes no model to disk."""

    def load_model(self, fl_ctx: FLContext) -> ModelLearnable:
        """Return the opening model."""
        work = saved_work()
        return make_model_learnable(dict(zip(work.outline.shapes(), work.opening(), strict=True)), {})

    def save_model(self, model: ModelLearnable, fl_ctx: FLContext) -> None:
        """Keep nothing."""


class Summing(ModelAggregator):
    """Adds up updates as they come."""

    def __init__(self) -> None:
        super().__init__()
        self._shapes = saved_work().outline.shapes()
        self.reset_stats()

    def accept_model(self, model: FLModel) -> None:
        """Add one update."""
        tensors = (model.params.pop(name) for name in self._shapes)
        self._total.add(tensors, int(model.meta[FLMetaKey.NUM_STEPS_CURRENT_ROUND]))

    def aggregate_model(self) -> FLModel:
        """Return the mean."""
        tensors = zip(self._shapes.items(), self._total.mean(), strict=True)
        params = {name: tensor.reshape(shape) for (name, shape), tensor in tensors}
        return FLModel(params=params, params_type=ParamsType.FULL)

    def reset_stats(self) -> None:
        """Begin a round."""
        sizes = [shape[0] * (shape[1] if shape[1:] else 1) for shape in self._shapes.values()]
        self._total = WeightedSum(sizes)
