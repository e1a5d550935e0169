"""The ways from a pretrained network to new classes, each gone with the same budget of epochs.

- from scratch: the same network with new initial values;
- frozen features: the pretrained network stays as it is, only a new head learns;
- fine-tuned: the pretrained network with a new head, all of it learns (or all after `until=NAME`). With `head_first`
  the head learns on frozen features before that: a head of random values would send its errors into features that are
  good (Kumar, Raghunathan, Jones, Ma, Liang: Fine-Tuning can Distort Pretrained Features, 2022). Lower layers may learn
  at lower rates, or later than upper ones (`minicnn.training.depth`), and batch norm may stay as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import minicnn
from minicnn import nn, optim
from minicnn.data import DataLoader
from minicnn.training import depth, freezing, sources
from minicnn.training.checkpoints import Checkpoints
from minicnn.training.evaluation import Evaluation
from minicnn.training.features import features
from minicnn.training.history import Epoch, History
from minicnn.training.pretrained import Pretrained
from minicnn.training.schedules import cosine
from minicnn.training.sources import Source
from minicnn.training.stopwatch import Stopwatch
from minicnn.training.trainer import Trainer

SCRATCH, FROZEN, TUNED = "from scratch", "frozen features", "fine-tuned"
# Each way has the rate that suits it, so that none looks worse than it is. Tried on the digits: from scratch 0.001,
# 0.003, 0.01; frozen features 0.01, 0.03, 0.1, 0.3; fine-tuned 0.0005, 0.001, 0.002, 0.003.
LEARNING_RATES = {SCRATCH: 3e-3, FROZEN: 3e-2, TUNED: 1e-3}
# And on halves of the training photographs of ants and bees: from scratch 0.0003, 0.001, 0.003; frozen features 0.003,
# 0.01, 0.03; fine-tuned 0.00003, 0.0001, 0.0003, 0.001.
PHOTOGRAPHS = {SCRATCH: 1e-3, FROZEN: 1e-2, TUNED: 1e-4}
EVALUATION_BATCH = 128


@dataclass(frozen=True)
class Way:
    """One way to train.

    Attributes
    ----------
    name : str
    pretrained : bool
        From the pretrained weights, or from new initial values.
    freeze : str
        What stays, see `minicnn.training.freezing`.
    lr : float
        Learning rate of Adam, on half a cosine down to 0.
    head_first : bool
        Whether the head learns alone first, for as many epochs.
    rates_by_depth : float or None
        The learning rate of a stage over that of the stage above it; None: one rate for all.
    unfreeze : str
        "at once", or "gradually": from the head down, one stage after the other.
    freeze_bn : str
        What of batch norm stays, see `freezing.freeze_batch_norm`.
    """

    name: str
    pretrained: bool
    freeze: str
    lr: float
    head_first: bool = False
    rates_by_depth: float | None = None
    unfreeze: str = "at once"
    freeze_bn: str = "none"


@dataclass(frozen=True)
class Outcome:
    """What a way came to.

    Attributes
    ----------
    way : Way
    evaluation : Evaluation
        After the last epoch.
    history : History
    seconds : float
        Of training: without validation, and without compiling kernels.
    """

    way: Way
    evaluation: Evaluation
    history: History
    seconds: float

    def __str__(self) -> str:
        metrics = self.evaluation.metrics
        numbers = f"accuracy {metrics.accuracy:.1%}, macro F1 {metrics.macro_f1:.3f}"
        return f"{self.way.name}: {numbers} after {len(self.history)} epochs, {self.seconds:.1f} s"


def choose(
    freeze: str,
    lr: float | None,
    compare: bool,
    *,
    photographs: bool = False,
    head_first: bool = False,
    rates_by_depth: float | None = None,
    unfreeze: str = "at once",
    freeze_bn: str = "none",
) -> list[Way]:
    """The ways to be gone. The last one is the one that was asked for; with `compare`, the others stand before it."""
    own = PHOTOGRAPHS if photographs else LEARNING_RATES
    rates = own if lr is None else dict.fromkeys(own, float(lr))
    scratch = Way(SCRATCH, False, "none", rates[SCRATCH])
    frozen = Way(FROZEN, True, "backbone", rates[FROZEN])
    tuned = Way(TUNED, True, freeze, rates[TUNED], head_first, rates_by_depth, unfreeze, freeze_bn)
    ways = [scratch, frozen] if freeze == "backbone" else [scratch, frozen, tuned]
    return ways if compare else ways[-1:]


class Journey:
    """Goes ways, each from the same seed, with the same images, for the same number of epochs.

    Parameters
    ----------
    pretrained : Pretrained
    source : Source
    epochs, batch_size, seed : int
    progress : bool or None
        As for `Trainer`.
    device : str
        Where the networks are trained. Initial values are drawn on the CPU, the same for both.
    """

    def __init__(
        self,
        pretrained: Pretrained,
        source: Source,
        epochs: int,
        batch_size: int,
        seed: int,
        progress: bool | None,
        device: str = "cpu",
    ) -> None:
        self.pretrained, self.source = pretrained, source
        self.epochs, self.batch_size, self.seed = epochs, batch_size, seed
        self.progress = progress
        self.device = device

    def build(self, way: Way) -> nn.Module:
        """The network at the beginning of a way."""
        minicnn.manual_seed(self.seed)
        model = self.pretrained.build(self.source.classes, way.pretrained)
        _freeze(model, way)
        return model.to(self.device)

    def warm_up(self) -> None:
        """One step and one evaluation of a network that is thrown away: every kernel is compiled then."""
        model = self.build(Way("warm-up", False, "none", 1e-3))
        batch = [next(iter(self._training_loader(self.source.train)))]
        _trainer(model, 1e-3, False).fit(batch, batch)

    def go(
        self,
        way: Way,
        on_epoch: Callable[[nn.Module], Callable[[Epoch], Any]] | None = None,
        checkpoints: Checkpoints | None = None,
    ) -> Outcome:
        """Go one way to its end.

        Parameters
        ----------
        way : Way
        on_epoch : callable, optional
            From the network to what is called after each epoch.
        checkpoints : Checkpoints, optional
            Where states of the way are written; it goes on from the furthest that is there.
        """
        model = learner = self.build(way)
        train, validation, seconds = self.source.varied, self.source.validation, 0.0
        train = self.source.train if train is None else train
        if way.freeze == "backbone":  # what is frozen runs once; then the head learns alone
            learner = freezing.head_of(model)[1]
            train, seconds = self._features(model, self.source.train)
            validation, _ = self._features(model, validation)
        elif way.head_first and not self.pretrained.is_for(self.source.classes):  # not a head that was kept
            seconds = self._train_head(model, way, checkpoints and checkpoints.part("head"))
        gradually = way.unfreeze == "gradually"
        trainer = _trainer(
            learner,
            way.lr,
            self.progress,
            on_epoch and on_epoch(model),
            before_epoch=(lambda number: self._open(model, way, number)) if gradually else None,
            factor=way.rates_by_depth,
        )
        loaders = self._training_loader(train), self._evaluation_loader(validation)
        resume = checkpoints is not None
        history = trainer.fit(*loaders, self.epochs, name=f"{way.name},", checkpoints=checkpoints, resume=resume)
        return Outcome(way, cast(Evaluation, trainer.evaluation), history, seconds + history.seconds)

    def _features(self, model: nn.Module, dataset: Any) -> tuple[Any, float]:
        """What the head gets for each image, and the seconds that it took."""
        with Stopwatch() as watch:
            head = freezing.head_of(model)[1]
            made = features(model, head, self._evaluation_loader(dataset), self.source.classes)
        return made, watch.seconds

    def _train_head(self, model: nn.Module, way: Way, checkpoints: Checkpoints | None) -> float:
        """The head learns on frozen features; then what the way freezes is frozen again. Returns the seconds."""
        freezing.freeze(model, "backbone")
        train, seconds = self._features(model, self.source.train)
        trainer = _trainer(freezing.head_of(model)[1], PHOTOGRAPHS[FROZEN], False)
        loader, resume = self._training_loader(train), checkpoints is not None
        history = trainer.fit(loader, epochs=self.epochs, checkpoints=checkpoints, resume=resume)
        model.unfreeze()
        _freeze(model, way)
        return seconds + history.seconds

    def _open(self, model: nn.Module, way: Way, epoch: int) -> None:
        """In this epoch the stages learn whose turn it is."""
        model.unfreeze()
        _freeze(model, way)
        depth.close(model, epoch, self.epochs)

    def _training_loader(self, dataset: Any) -> DataLoader:
        size = self.batch_size
        # A last batch of one image may leave batch norm one value a channel; it is left out, another one each epoch.
        lonely = len(dataset) > size > 1 and len(dataset) % size == 1
        return DataLoader(
            dataset, size, shuffle=True, seed=self.seed, drop_last=lonely, num_workers=sources.readers(dataset)
        )

    def _evaluation_loader(self, dataset: Any) -> DataLoader:
        return DataLoader(dataset, EVALUATION_BATCH, seed=self.seed, num_workers=sources.readers(dataset))


def _freeze(model: nn.Module, way: Way) -> None:
    """What a way freezes for all of its epochs."""
    freezing.freeze(model, way.freeze)
    freezing.freeze_batch_norm(model, way.freeze_bn)


def _trainer(
    model: nn.Module,
    lr: float,
    progress: bool | None,
    on_epoch: Any = None,
    before_epoch: Callable[[int], Any] | None = None,
    factor: float | None = None,
) -> Trainer:
    learning: list[Any] = [p for p in model.parameters() if p.requires_grad]
    if factor is not None:
        learning = depth.parameter_groups(model, lr, factor)
    return Trainer(
        model,
        optim.Adam(learning, lr=lr),
        nn.CrossEntropyLoss(),
        schedule=cosine(),
        progress=progress,
        on_epoch=on_epoch,
        before_epoch=before_epoch,
    )
