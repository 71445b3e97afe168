"""What every task says of itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from cotrain.hardware.errors import InputError
from cotrain.pipeline.datasets.base import Dataset
from cotrain.pipeline.tasks.scaling import TargetScaler

if TYPE_CHECKING:
    from cotrain.pipeline.compat import Tensor
    from cotrain.pipeline.networks.spec import NetworkSpec
    from cotrain.pipeline.phase_settings import PhaseSettings
    from cotrain.pipeline.sections import DataSettings
    from cotrain.pipeline.training.backend import Job


class Task(ABC):
    """A kind of question that a network is asked of an image.

    Attributes
    ----------
    name : str
        `Dataset.task`.
    target_dtype : str
        Of the array of targets.
    metric, metric_name : str
        Key in metrics.json, and what people call it.
    unit : str
        What a group is: scores are means over groups, intervals are drawn over them.
    losses : tuple of str
        What ``train.loss`` may be; the first one is a good start.
    view_settings : tuple of str
        Which of the settings ``view_...`` count.
    outlined : bool
        Whether targets and predictions can be drawn into a picture; otherwise `label` puts them into words.
    finishes : bool
        Whether a sigmoid at the end of a network changes a prediction. It moves neither the highest score nor 0.
    """

    name: ClassVar[str]
    target_dtype: ClassVar[str] = "float32"
    metric: ClassVar[str]
    metric_name: ClassVar[str]
    unit: ClassVar[str] = "image"
    losses: ClassVar[tuple[str, ...]]
    outlined: ClassVar[bool] = True
    finishes: ClassVar[bool] = False
    view_settings: ClassVar[tuple[str, ...]] = ("shift", "scale", "stretch", "gain", "tone", "rotate_deg")

    # Targets

    @abstractmethod
    def target_shape(self, n: int, height: int, width: int) -> tuple[int, ...]:
        """Shape of the targets of `n` images."""

    @abstractmethod
    def check_targets(self, dataset: Dataset, refuse: Callable[[str], None]) -> None:
        """Call `refuse` with a reason for the first target or class name that cannot be; their shape is right."""

    @abstractmethod
    def class_names_of(self, targets: np.ndarray) -> tuple[str, ...]:
        """What classes are called where nobody has said."""

    # The readout

    @abstractmethod
    def output_shape(self, dataset: Dataset) -> tuple[int, ...]:
        """Shape of a network's readout for these data: (size,), or (height, width, channels)."""

    def check_network(self, spec: NetworkSpec, dataset: Dataset) -> None:
        """Raise InputError unless the network's readout is what the data need."""
        wanted, found = self.output_shape(dataset), tuple(spec.output_shape)
        if found != wanted:
            raise InputError(
                f"network.name {spec.name} gives {_shape(found)} for an image; data.name {dataset.name} has "
                f"{self.name}, which need {_shape(wanted)}"
            )

    @abstractmethod
    def predict(self, readout: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Predictions from readouts.

        Parameters
        ----------
        readout : (n, size)
            Mean readout of each sample, not standardised.
        shape : tuple of int
            Of a readout, `output_shape`.
        """

    def predictions(self, readout: np.ndarray, spec: Any) -> np.ndarray:
        """Predictions of a network (pipeline.networks.NetworkSpec) from its readouts (n, size)."""
        from cotrain.pipeline.networks.forward import finished

        return self.predict(finished(spec, readout) if self.finishes else readout, spec.output_shape)

    @abstractmethod
    def as_prediction(self, targets: np.ndarray) -> np.ndarray:
        """Targets as predictions have them: what a network that is never wrong predicts."""

    # Training

    def check_loss(self, loss: str, dataset: Dataset) -> None:
        """Raise InputError unless ``train.loss`` is one for this task and these data."""
        if loss not in self.losses:
            raise InputError(f"train.loss is {loss}; for {self.name} expected one of {', '.join(self.losses)}")

    @abstractmethod
    def scaler(self, targets: np.ndarray, view_shift: float = 0.0, final: str = "linear") -> TargetScaler:
        """How training targets are standardised.

        `view_shift` is what augmentation adds to their spread: shifts drawn uniformly from -view_shift to view_shift.
        `final` is `NetworkSpec.final`, what follows the readout on the host.
        """

    @abstractmethod
    def loss(self, job: Job, prediction: Tensor, target: Tensor) -> Tensor:
        """The loss of a batch.

        Parameters
        ----------
        job : pipeline.training.backend.Job
            Its `loss` is one of `losses`.
        prediction : tf.Tensor
            (n_samples, size of the readout).
        target : tf.Tensor
            (n_samples, size of a target), float32, standardised.

        Returns
        -------
        tf.Tensor
            Scalar.
        """

    def first_bias(self, train: Dataset) -> np.ndarray:
        """What the readout says before it has learnt anything, () or one value a channel; training starts there.

        Parameters
        ----------
        train : Dataset
            The training samples; of these only how often what occurs.
        """
        return np.zeros((), np.float32)

    def distance(self, job: Job, prediction: Tensor, teacher: Tensor) -> Tensor:
        """How far a batch's predictions are from those of another network, both as `loss` has them; a scalar."""
        from cotrain.pipeline.training import losses

        return losses.mean_absolute(prediction, teacher)

    def augment(
        self,
        dataset: Dataset,
        images: np.ndarray,
        targets: np.ndarray,
        rng: np.random.Generator,
        settings: PhaseSettings,
    ) -> tuple[np.ndarray, np.ndarray]:
        """A random view of each sample.

        Parameters
        ----------
        dataset : Dataset
            What the samples are from.
        settings : pipeline.experiment.PhaseSettings
            `view_shift` and the like; one below 0 is left to the task.
        """
        scale, offset, chosen = np.float32(dataset.pixel_scale), np.float32(dataset.pixel_offset), self.views(settings)
        if scale == 1 and offset == 0:
            return self.view(images, targets, rng, **chosen)
        views, moved = self.view((images - offset) / scale, targets, rng, **chosen)
        return views * scale + offset, moved

    @abstractmethod
    def view(
        self, images: np.ndarray, targets: np.ndarray, rng: np.random.Generator, **settings: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        """A random view of each sample, of pixels in [0, 1]; `settings` as in `datasets.augment`."""

    def moved(self, targets: np.ndarray, matrix: np.ndarray, offset: np.ndarray, size: np.ndarray) -> np.ndarray:
        """Targets of images that were moved by a map of `pipeline.datasets.warp`."""
        return targets

    def views(self, settings: PhaseSettings) -> dict[str, Any]:
        """Arguments of `view`."""
        drawn = {name: getattr(settings, f"view_{name}") for name in self.view_settings}
        return {name: value for name, value in drawn.items() if value >= 0}

    # Scores

    @abstractmethod
    def scores(
        self, predicted: np.ndarray, true: np.ndarray, groups: np.ndarray, class_names: tuple[str, ...] = ()
    ) -> np.ndarray:
        """The metric of each group, (n_groups,) float64, in the sorted order of the groups' names; its mean counts.

        Parameters
        ----------
        predicted : (n, ...)
            As `predict` gives them.
        true : (n, ...)
            As `Dataset.targets` or `as_prediction` has them.
        groups : (n,) str
        class_names : tuple of str
            `Dataset.class_names`.
        """

    def per_class(
        self, predicted: np.ndarray, true: np.ndarray, groups: np.ndarray, class_names: tuple[str, ...]
    ) -> dict[str, float]:
        """The metric of each class, whose mean is the metric; empty where there is one class."""
        return {}

    def details(self, predicted: np.ndarray, true: np.ndarray, class_names: tuple[str, ...]) -> dict[str, Any]:
        """What else a row of metrics.json tells; JSON values."""
        return {}

    def protocols(self, dataset: Dataset, settings: DataSettings) -> dict[str, Dataset]:
        """Other views of the same samples on which every model is scored too, by name.

        Parameters
        ----------
        settings : pipeline.experiment.DataSettings
        """
        return {}

    def describe_protocol(self, name: str, settings: DataSettings) -> dict[str, Any]:
        """What metrics.json says of a protocol beside its rows."""
        return {}

    # The best prediction that ignores the image

    @abstractmethod
    def constant(self, train: Dataset) -> np.ndarray:
        """What scores best on the training samples without looking at them; never fitted to what it is scored on."""

    @abstractmethod
    def predict_constant(self, constant: np.ndarray, dataset: Dataset) -> np.ndarray:
        """Predictions (n, ...) of `constant` for the samples of a data set.

        Raises
        ------
        InputError
            It was fitted to other data.
        """

    # Pictures

    def size_of_target(self, targets: np.ndarray) -> np.ndarray:
        """How much there is to see in each target (n,): of a group, the sample with the most is shown."""
        return np.zeros(len(targets))

    def outline(self, target: np.ndarray, shape: tuple[int, int], zoom: int) -> np.ndarray:
        """Where to draw a target or prediction into a picture enlarged to `shape`; (height, width) bool."""
        return np.zeros(shape, dtype=bool)

    def label(self, prediction: np.ndarray, class_names: tuple[str, ...]) -> str:
        """A prediction or target in words, where it cannot be drawn."""
        return ""


SHIFTED = "shifted"
PROTOCOLS = (SHIFTED,)  # all that a task may be judged under, besides its plain samples


class JudgedShifted:
    """Mixin: judged on shifted images as well.

    Where most objects lie alike, one constant prediction scores so well on unmoved images that a network which has
    learned to find the object can be worse than one which has learned nothing. On moved images it cannot.
    """

    def protocols(self, dataset: Dataset, settings: DataSettings) -> dict[str, Dataset]:
        from cotrain.pipeline.datasets.augment import shifted

        return {SHIFTED: shifted(dataset, settings.shift_fraction, settings.shift_seed)}

    def describe_protocol(self, name: str, settings: DataSettings) -> dict[str, Any]:
        return {"shift_fraction": settings.shift_fraction, "shift_seed": settings.shift_seed}


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) + (" value" if shape == (1,) else " values")
