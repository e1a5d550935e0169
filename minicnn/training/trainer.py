"""The trainer: fit, evaluate, predict.

::

    trainer = Trainer(model, optim.Adam(model.parameters(), lr=1e-3), nn.CrossEntropyLoss(), schedule=cosine())
    history = trainer.fit(train_loader, validation_loader, epochs=10)
    print(trainer.evaluate(validation_loader).metrics)

It works with any model whose output is a score (logit) for each class, (N, C). A step of training is the five lines
that everybody knows; they stand in `_step`. (In training a network may give two, as Inception-v3 does: then 0.4 times
the loss of the second head is added.) Batches go to where the model is (`model.to("cuda")`): there the whole step
happens, and what comes back is the loss and the scores.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from minicnn.autograd import Tensor, no_grad
from minicnn.backends import random
from minicnn.errors import ArgumentError, DataError, DivergedError, ShapeError
from minicnn.nn import Module
from minicnn.nn import functional as F  # noqa: N812
from minicnn.optim import EMA, Optimizer
from minicnn.training.checkpoints import Checkpoints
from minicnn.training.divergence import origin
from minicnn.training.early_stopping import EarlyStopping
from minicnn.training.evaluation import Evaluation, class_names, device_of, evaluating, image_batches
from minicnn.training.history import Epoch, History
from minicnn.training.metrics import measure
from minicnn.training.position import Position
from minicnn.training.progress import Bar
from minicnn.training.saving import Saver
from minicnn.training.schedules import Schedule, constant
from minicnn.training.steering import Steering
from minicnn.training.stopwatch import Stopwatch

Batches = Iterable[tuple[Tensor, Tensor]]
SECOND_HEAD = 0.4  # share of a second head's loss, as people train Inception-v3


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
        Called with the `Epoch` after each epoch, for example a `LastAndBest`. One with a method `resume(history)` is
        told what was before, when a training goes on.
    penalty : callable, optional
        Called in each step of training for what is added to the loss: `lambda: nn.l1_penalty(weights, 1e-4)`. The
        losses that are shown are without it, as on the validation images.
    clip_norm : float, optional
        The gradient of each step is shortened to this norm (`nn.utils.clip_grad_norm_`).
    ema : EMA, optional
        Updated after each step; its averages are what the model has in validations, in `on_epoch`, and after `fit`.
    early_stopping : EarlyStopping, optional
        May end the training before the last epoch. After `fit` the model has the weights of the best one.
    before_epoch : callable, optional
        Called with the number of each epoch before its first step, and again when a training goes on within it: what it
        does (to freeze layers, say) may depend on nothing but this number.

    Attributes
    ----------
    history : History
        Of the last `fit`, also of one that was interrupted.
    position : Position
        Where the last `fit` is, or was when it ended.
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
        before_epoch: Callable[[int], Any] | None = None,
        penalty: Callable[[], Tensor] | None = None,
        clip_norm: float | None = None,
        ema: EMA | None = None,
        early_stopping: EarlyStopping | None = None,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.loss = loss
        self.steering = Steering(schedule or constant(), penalty, clip_norm, ema, early_stopping)
        self.progress = progress
        self.on_epoch = on_epoch
        self.before_epoch = before_epoch
        self.history = History()
        self.position = Position()
        self.evaluation: Evaluation | None = None

    # ---- training ----------------------------------------------------------------------------------------------------

    def fit(
        self,
        train: Batches,
        validation: Batches | None = None,
        epochs: int = 1,
        name: str = "",
        *,
        checkpoints: Checkpoints | None = None,
        resume: bool = False,
    ) -> History:
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
        checkpoints : Checkpoints, optional
            Where states are written from which the training can go on.
        resume : bool
            Go on from the furthest of them, to the same bits as without the interruption. Build model, optimizer and
            loaders as the first time. Where there is none yet, the training begins.

        Returns
        -------
        History
            Of all epochs, those before the interruption included.

        Raises
        ------
        DivergedError
            If the loss is not finite: it says where that began. The parameters keep what they had before that step,
            files that were written stay.
        KeyboardInterrupt
            After Ctrl-C; with `checkpoints`, when the state after that step is written.
        """
        if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1:
            raise ArgumentError(
                "epochs is not valid", called="Trainer.fit", seen=f"epochs={epochs!r}", rule="epochs >= 1"
            )
        self.history, self.evaluation, self.position = History(), None, Position()
        self.steering.begin()
        saver = Saver(self, checkpoints, train, validation, epochs)
        if resume:
            saver.restore()
            self.steering.tell(self.history)
        steps = len(train)  # type: ignore[arg-type]
        bar = Bar(steps * epochs, self.progress, (self.position.epoch - 1) * steps + self.position.step)
        try:
            with saver:
                while self.position.epoch <= epochs and not self.steering.is_over(self.history):
                    number = self.position.epoch
                    bar.start(f"{name} epoch {number}/{epochs}".strip())
                    if self.before_epoch is not None:
                        self.before_epoch(number)
                    self.model.train()
                    epoch = self._epoch(steps, epochs, saver, bar)
                    with self.steering.averaged():
                        if validation is not None:
                            epoch.update(self._validate(validation, number, saver))
                        self.history.epochs.append(Epoch(**epoch))
                        self.position = Position(number + 1)
                        self.steering.after_epoch(self.history, self.model)
                        if self.on_epoch is not None:
                            self.on_epoch(self.history[-1])
                    self.steering.tell(self.history)
                    saver.after_epoch()
                changed = self.steering.end(self.history, self.model)
                if validation is not None and (changed or self.evaluation is None):  # None: all was done before
                    self._validate(validation, self.position.epoch - 1, saver)
        finally:
            bar.close()
            for group, rate in zip(self.optimizer.param_groups, saver.rates, strict=True):
                group["lr"] = rate
        return self.history

    def _epoch(self, steps: int, epochs: int, saver: Saver, bar: Bar) -> dict[str, Any]:
        """The rest of one pass over the training images; the values of an `Epoch`, the validation's still empty."""
        at = self.position
        before = at.seconds
        with Stopwatch() as watch:
            for x, labels in saver.batches():
                factor = self._factor(at.step, steps, epochs)
                for group, rate in zip(self.optimizer.param_groups, saver.rates, strict=True):
                    group["lr"] = rate * factor
                loss, scores = self._step(x, labels, f"epoch {at.epoch}, step {at.step + 1} of {steps}")
                at.step += 1
                at.loss += loss * len(labels)
                classes = labels.cpu().numpy()
                if classes.ndim == 2:  # probabilities, of images that were mixed: what they show most of
                    classes = classes.argmax(axis=1)
                at.right += int((scores.argmax(axis=1) == classes).sum())
                at.images += len(labels)
                at.seconds = before + watch.seconds
                bar.step(at.loss / at.images, at.right / at.images, at.images / at.seconds)
                saver.after_step()
        if not at.images:
            raise DataError("no batch", called="Trainer.fit", seen=repr(saver.train), rule="at least one batch")
        return {
            "number": at.epoch,
            "train_loss": at.loss / at.images,
            "train_accuracy": at.right / at.images,
            "validation_loss": None,
            "validation_accuracy": None,
            "macro_f1": None,
            "lr": saver.rates[0] * self._factor(at.step - 1, steps, epochs),
            "seconds": at.seconds,
            "images_per_second": at.images / at.seconds,
        }

    def _factor(self, step: int, steps: int, epochs: int) -> float:
        """What the learning rates are multiplied with in one step of this epoch."""
        return self.steering.schedule(((self.position.epoch - 1) * steps + step) / (steps * epochs))

    def _step(self, x: Tensor, labels: Tensor, where: str) -> tuple[float, np.ndarray]:
        """One step along the gradient of one batch: its loss and scores."""
        drawn = random.generator().bit_generator.state
        # A training that diverges overflows everywhere; the check of the loss says it once, and in words.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            scores, second = self._outputs(x)
            loss = self.loss(scores, labels.to(scores.device))
            if second is not None:
                loss = loss + SECOND_HEAD * self.loss(second, labels.to(second.device))
            value = loss.item()
            if not math.isfinite(value):
                random.generator().bit_generator.state = drawn
                raise self._diverged(value, x, where)
            # Not before: where it diverged, the gradients of the step before may say why.
            self.steering.step(loss, self.optimizer)
        return value, scores.detach().cpu().numpy()

    def _diverged(self, loss: float, x: Tensor, where: str) -> DivergedError:
        return DivergedError(
            f"the loss is {loss}",
            called=f"training: {where}",
            seen=origin(self.model, x, self._scores),
            rule="a finite number",
            hint="a smaller learning rate",
        )

    # ---- measuring ---------------------------------------------------------------------------------------------------

    def evaluate(self, loader: Batches) -> Evaluation:
        """Loss, predictions and metrics on all images of a loader; the model keeps its mode, and learns nothing.

        Class names come from `loader.dataset.classes` where the loader has them.
        """
        return self._evaluate(loader, "evaluate")

    def _validate(self, validation: Batches, number: int, saver: Saver) -> dict[str, float]:
        """The values of an `Epoch` that come from the validation images."""
        evaluation = self._evaluate(validation, f"the validation after epoch {number}", saver.while_validating)
        self.evaluation = evaluation
        return {
            "validation_loss": evaluation.loss,
            "validation_accuracy": evaluation.metrics.accuracy,
            "macro_f1": evaluation.metrics.macro_f1,
        }

    def _evaluate(self, loader: Batches, where: str, after_batch: Callable[[], Any] | None = None) -> Evaluation:
        total = 0.0
        targets: list[np.ndarray] = []
        probabilities: list[np.ndarray] = []
        with evaluating(self.model), no_grad(), np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            for x, labels in loader:
                scores = self._scores(x)
                loss = self.loss(scores, labels.to(scores.device)).item()
                if not math.isfinite(loss):
                    raise self._diverged(loss, x, where)
                total += loss * len(labels)
                targets.append(labels.cpu().numpy())
                probabilities.append(F.softmax(scores, 1).cpu().numpy())
                if after_batch is not None:
                    after_batch()
        if not targets:
            raise DataError("no batch", called="Trainer.evaluate", seen=repr(loader), rule="at least one batch")
        all_targets, all_probabilities = np.concatenate(targets), np.concatenate(probabilities)
        metrics = measure(all_targets, all_probabilities, class_names(loader, all_probabilities.shape[1]))
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
            parts = [F.softmax(self._scores(x), 1).cpu().numpy() for x in image_batches(images)]
        if not parts:
            raise DataError("no images", called="Trainer.predict", seen=repr(images), rule="at least one image")
        return np.concatenate(parts)

    def _scores(self, x: Tensor) -> Tensor:
        return self._outputs(x)[0]

    def _outputs(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Scores, and those of a second head where a network has one for training."""
        outputs = self.model(x.to(device_of(self.model)))
        scores, second = outputs if isinstance(outputs, tuple) else (outputs, None)
        if scores.ndim != 2 or len(scores) != len(x):
            raise ShapeError(
                "the model does not classify",
                called=f"Trainer: {type(self.model).__name__}",
                seen=f"images {x.shape}, output {scores.shape}",
                rule="one score a class for each image, (N, C)",
            )
        return scores, second
