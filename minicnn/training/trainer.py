"""The trainer: fit, evaluate, predict.

::

    trainer = Trainer(model, optim.Adam(model.parameters(), lr=1e-3), nn.CrossEntropyLoss(), schedule=cosine())
    history = trainer.fit(train_loader, validation_loader, epochs=10)
    print(trainer.evaluate(validation_loader).metrics)

It works with any model whose output is a score (logit) for each class, (N, C). A step of training is the five lines
that everybody knows; they stand in `_step`. Batches go to where the model is (`model.to("cuda")`): there the whole step
happens, and what comes back is the loss and the scores.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from minicnn.autograd import Tensor, no_grad
from minicnn.backends.arrays import is_array
from minicnn.errors import ArgumentError, DataError, MinicnnError, ShapeError
from minicnn.nn import Module
from minicnn.nn import functional as F  # noqa: N812
from minicnn.optim import Optimizer
from minicnn.training.history import Epoch, History
from minicnn.training.metrics import Metrics, measure
from minicnn.training.progress import Bar
from minicnn.training.schedules import Schedule, constant
from minicnn.training.stopwatch import Stopwatch

Batches = Iterable[tuple[Tensor, Tensor]]
PREDICT_BATCH = 64  # images that go through the network at once when an array is predicted


@dataclass(frozen=True)
class Evaluation:
    """What a model does with the images of a loader.

    Attributes
    ----------
    loss : float
        Mean over images.
    targets, predictions : int array (N,)
        True and most probable classes, in the loader's order.
    probabilities : float array (N, C)
    metrics : Metrics
    """

    loss: float
    targets: np.ndarray
    predictions: np.ndarray
    probabilities: np.ndarray
    metrics: Metrics


class Trainer:
    """Trains a model, and measures it.

    Parameters
    ----------
    model : Module
        Images (N, ...) to scores (N, C).
    optimizer : Optimizer
        Of the parameters to be trained; its learning rates are the ones that the schedule multiplies.
    loss : callable
        `loss(scores, labels)`: a single number, the mean over the batch.
    schedule : callable, optional
        From progress (0 to 1) to a factor, see `minicnn.training.schedules`; a constant rate without.
    progress : bool or None
        Whether a bar with loss, accuracy and images per second is shown (on stderr); None: only on a terminal.
    on_epoch : callable, optional
        Called with the `Epoch` after each epoch, for example a `Checkpoint`.

    Attributes
    ----------
    history : History
        Of the last `fit`, also of one that was interrupted.
    evaluation : Evaluation or None
        The last one that `fit` made.
    """

    def __init__(
        self,
        model: Module,
        optimizer: Optimizer,
        loss: Callable[[Tensor, Tensor], Tensor],
        *,
        schedule: Schedule | None = None,
        progress: bool | None = True,
        on_epoch: Callable[[Epoch], Any] | None = None,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.loss = loss
        self.schedule = schedule or constant()
        self.progress = progress
        self.on_epoch = on_epoch
        self.history = History()
        self.evaluation: Evaluation | None = None

    # ---- training ----------------------------------------------------------------------------------------------------

    def fit(self, train: Batches, validation: Batches | None = None, epochs: int = 1, name: str = "") -> History:
        """Train, and validate after each epoch.

        Parameters
        ----------
        train : loader
            Batches (images, labels); it must have a length.
        validation : loader, optional
        epochs : int
            Passes over the training images.
        name : str
            Shown in the progress bar.

        Returns
        -------
        History

        Raises
        ------
        MinicnnError
            If the loss is not finite: the model keeps what it had before that step, files that were written stay.
        """
        if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1:
            raise ArgumentError(
                "epochs is not valid", called="Trainer.fit", seen=f"epochs={epochs!r}", rule="epochs >= 1"
            )
        self.history, self.evaluation = History(), None
        steps = len(train)  # type: ignore[arg-type]
        rates = [group["lr"] for group in self.optimizer.param_groups]
        bar = Bar(steps * epochs, self.progress)
        try:
            for number in range(1, epochs + 1):
                bar.start(f"{name} epoch {number}/{epochs}".strip())
                self.model.train()
                epoch = self._epoch(number, train, steps, epochs, rates, bar)
                if validation is not None:
                    evaluation = self.evaluation = self._evaluate(validation, f"the validation after epoch {number}")
                    epoch.update(
                        validation_loss=evaluation.loss,
                        validation_accuracy=evaluation.metrics.accuracy,
                        macro_f1=evaluation.metrics.macro_f1,
                    )
                self.history.epochs.append(Epoch(**epoch))
                if self.on_epoch is not None:
                    self.on_epoch(self.history[-1])
        finally:
            bar.close()
            for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
                group["lr"] = rate
        return self.history

    def _epoch(
        self, number: int, train: Batches, steps: int, epochs: int, rates: list[float], bar: Bar
    ) -> dict[str, Any]:
        """One pass over the training images; the values of an `Epoch`, the validation's still empty."""
        total, right, images = 0.0, 0, 0
        factor = 1.0
        with Stopwatch() as watch:
            for step, (x, labels) in enumerate(train):
                factor = self.schedule(((number - 1) * steps + step) / (steps * epochs))
                for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
                    group["lr"] = rate * factor
                loss, scores = self._step(x, labels, f"epoch {number}, step {step + 1} of {steps}")
                total += loss * len(labels)
                right += int((scores.argmax(axis=1) == labels.cpu().numpy()).sum())
                images += len(labels)
                bar.step(total / images, right / images, images / watch.seconds)
        if not images:
            raise DataError("no batch", called="Trainer.fit", seen=repr(train), rule="at least one batch")
        return {
            "number": number,
            "train_loss": total / images,
            "train_accuracy": right / images,
            "validation_loss": None,
            "validation_accuracy": None,
            "macro_f1": None,
            "lr": rates[0] * factor,
            "seconds": watch.seconds,
            "images_per_second": images / watch.seconds,
        }

    def _step(self, x: Tensor, labels: Tensor, where: str) -> tuple[float, np.ndarray]:
        """One step along the gradient of one batch: its loss and scores."""
        # A training that diverges overflows everywhere; the check of the loss says it once, and in words.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            self.optimizer.zero_grad()
            scores = self._scores(x)
            loss = self.loss(scores, labels.to(scores.device))
            value = _finite(loss.item(), where)
            loss.backward()
            self.optimizer.step()
        return value, scores.detach().cpu().numpy()

    # ---- measuring ---------------------------------------------------------------------------------------------------

    def evaluate(self, loader: Batches) -> Evaluation:
        """Loss, predictions and metrics on all images of a loader; the model keeps its mode, and learns nothing.

        Class names come from `loader.dataset.classes` where the loader has them.
        """
        return self._evaluate(loader, "evaluate")

    def _evaluate(self, loader: Batches, where: str) -> Evaluation:
        total = 0.0
        targets: list[np.ndarray] = []
        probabilities: list[np.ndarray] = []
        with evaluating(self.model), no_grad(), np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            for x, labels in loader:
                scores = self._scores(x)
                total += _finite(self.loss(scores, labels.to(scores.device)).item(), where) * len(labels)
                targets.append(labels.cpu().numpy())
                probabilities.append(F.softmax(scores, 1).cpu().numpy())
        if not targets:
            raise DataError("no batch", called="Trainer.evaluate", seen=repr(loader), rule="at least one batch")
        all_targets, all_probabilities = np.concatenate(targets), np.concatenate(probabilities)
        metrics = measure(all_targets, all_probabilities, _class_names(loader, all_probabilities.shape[1]))
        return Evaluation(
            total / len(all_targets), all_targets, all_probabilities.argmax(axis=1), all_probabilities, metrics
        )

    def predict(self, images: Any) -> np.ndarray:
        """The probability of each class; the model keeps its mode.

        Parameters
        ----------
        images : Tensor or array (N, ...), or loader
            A loader's labels are passed over; it may also give images alone.

        Returns
        -------
        float array (N, C)
        """
        with evaluating(self.model), no_grad():
            parts = [F.softmax(self._scores(x), 1).cpu().numpy() for x in _image_batches(images)]
        if not parts:
            raise DataError("no images", called="Trainer.predict", seen=repr(images), rule="at least one image")
        return np.concatenate(parts)

    def _scores(self, x: Tensor) -> Tensor:
        scores = self.model(x.to(device_of(self.model)))
        if scores.ndim != 2 or len(scores) != len(x):
            raise ShapeError(
                "the model does not classify",
                called=f"Trainer: {type(self.model).__name__}",
                seen=f"images {x.shape}, output {scores.shape}",
                rule="one score a class for each image, (N, C)",
            )
        return scores


@contextmanager
def evaluating(model: Module) -> Iterator[None]:
    """Evaluation mode in this block; afterwards every module is in the mode in which it was."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def device_of(model: Module) -> str:
    """Where the parameters of a model are."""
    return next((parameter.device for parameter in model.parameters()), "cpu")


def _finite(loss: float, where: str) -> float:
    if not math.isfinite(loss):
        raise MinicnnError(
            f"the loss is {loss}",
            called=f"training: {where}",
            rule="a finite number",
            hint="a smaller learning rate; or look for NaN in the images",
        )
    return loss


def _class_names(loader: Any, count: int) -> list[str] | None:
    """Names from the loader's data set, if there is one for each score."""
    names = getattr(getattr(loader, "dataset", None), "classes", None)
    return names if names is not None and len(names) == count else None


def _image_batches(images: Any) -> Iterator[Tensor]:
    if isinstance(images, Tensor) or is_array(images):
        array = images.array if isinstance(images, Tensor) else images
        for start in range(0, len(array), PREDICT_BATCH):
            yield Tensor(array[start : start + PREDICT_BATCH])
        return
    for batch in images:
        yield batch[0] if isinstance(batch, (tuple, list)) else batch
