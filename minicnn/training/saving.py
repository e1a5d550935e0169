"""What a checkpoint of `Trainer.fit` holds, when it is written, and how a training goes on from it.

| part | what |
|---|---|
| `model.*` | parameters and buffers |
| `optimizer.N.*`, `optimizer` | the memory of parameter N; settings of groups, learning rates before the schedule |
| `history.*` | one column each: all epochs so far; early stopping and `ReduceOnPlateau` are functions of it |
| `ema.*`, `best.*` | averaged weights by number of the parameter; the best weights, for early stopping |
| `position` | epoch, step, and the sums of this epoch so far; the schedule is a function of it |
| `random`, `loaders` | the global generator; seed and epoch of the loaders |
| `about` | what must be the same for the bits to be the same: version, network, images, batches, epochs, ... |
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

import minicnn
from minicnn.backends import random
from minicnn.errors import ArgumentError, DivergedError, MinicnnError, WeightsError
from minicnn.training.checkpoints import Checkpoints
from minicnn.training.divergence import held_by_parameters
from minicnn.training.fingerprint import fingerprint
from minicnn.training.history import History
from minicnn.training.interrupts import CtrlC
from minicnn.training.position import Position
from minicnn.training.state import State
from minicnn.weights.archive import NotFiniteError

if TYPE_CHECKING:
    from minicnn.training.trainer import Trainer

WHAT_DIFFERS = {
    "minicnn": "a checkpoint of another version of minicnn",
    "network": "a checkpoint of another network",
    "learns": "a checkpoint with other parts frozen",
    "optimizer": "a checkpoint with another optimizer",
    "images": "a checkpoint of a training on other images",
    "batches": "a checkpoint with other batches",
    "epochs": "a checkpoint of a training of another length",
    "schedule": "a checkpoint with another schedule",
    "training": "a checkpoint of another training",
    "plateau": "a checkpoint with another schedule",
    "early_stopping": "a checkpoint with other early stopping",
    "ema": "a checkpoint with another average of the weights",
    "clip_norm": "a checkpoint with other clipping of gradients",
    "penalty": "a checkpoint with, or without, a penalty",
}
OPTIONAL = ("plateau", "early_stopping", "ema", "clip_norm", "penalty")  # only in the checkpoints of those who use them


class Saver:
    """The checkpoints of one `Trainer.fit`; without any, it does nothing.

    In its block, the first Ctrl-C waits for the end of a step, and is raised when the state is written.

    Parameters
    ----------
    trainer : Trainer
    checkpoints : Checkpoints or None
    train, validation : loader
    epochs : int

    Attributes
    ----------
    rates : list of float
        Learning rates of the optimizer's groups, before the schedule's factor.
    """

    def __init__(
        self, trainer: Trainer, checkpoints: Checkpoints | None, train: Any, validation: Any, epochs: int
    ) -> None:
        self.trainer = trainer
        self.checkpoints = checkpoints
        self.train, self.validation = train, validation
        self.epochs, self.steps = epochs, len(train)
        self.rates = [group["lr"] for group in trainer.optimizer.param_groups]
        self.ctrl_c = CtrlC()
        self.about = self._about() if checkpoints is not None else {}
        self._random: dict[str, Any] | None = None

    def __enter__(self) -> Saver:
        if self.checkpoints is not None:
            self.ctrl_c.__enter__()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.ctrl_c.__exit__()
        if isinstance(error, DivergedError) and self.checkpoints is not None and self.checkpoints.last is not None:
            error.hint += f"; the last good checkpoint is {self.checkpoints.last}"

    # ---- moments -----------------------------------------------------------------------------------------------------

    def batches(self) -> Iterator[Any]:
        """What is left of this epoch."""
        done = self.trainer.position.step
        if done and not hasattr(self.train, "set_epoch"):  # a loader's `set_epoch` was told in `restore`
            batches = iter(self.train)
            for _ in islice(batches, done):
                pass
        else:
            batches = iter(self.train)
        if self._random is not None:  # what was passed over may have drawn
            random.generator().bit_generator.state = self._random
            self._random = None
        return batches

    def after_step(self) -> None:
        """Write a checkpoint, if it is time to, or if Ctrl-C was pressed."""
        if self.checkpoints is None:
            return
        at = self.trainer.position
        if self.ctrl_c.pressed or self.checkpoints.is_due((at.epoch - 1) * self.steps + at.step):
            self._save()

    def while_validating(self) -> None:
        """After Ctrl-C, write a checkpoint from before the validation."""
        if self.ctrl_c.pressed:
            self._save(validating=True)

    def after_epoch(self) -> None:
        """Write a checkpoint, if this epoch was the best, or unless it was a quick one."""
        if self.checkpoints is None:
            return
        is_best = self.trainer.history.best() is self.trainer.history[-1]
        if self.ctrl_c.pressed or self.checkpoints.is_due_after_epoch(is_best):
            self._save()

    def _save(self, validating: bool = False) -> None:
        assert self.checkpoints is not None
        trainer, best = self.trainer, self.trainer.history.best()
        try:
            self.checkpoints.save(self.state(validating), trainer.position, best.number if best else None)
        except NotFiniteError as error:
            raise DivergedError(
                "the training has diverged",
                called=f"training: {trainer.position}",
                seen=held_by_parameters(trainer.model) or error.problem,
                rule="finite numbers",
                hint="a smaller learning rate",
            ) from None
        if self.ctrl_c.pressed:
            raise KeyboardInterrupt

    # ---- the state ---------------------------------------------------------------------------------------------------

    def state(self, validating: bool = False) -> State:
        """Everything that the rest of the training depends on."""
        with self.trainer.steering.own():
            return self._state(validating)

    def _state(self, validating: bool) -> State:
        trainer, at = self.trainer, self.trainer.position
        optimizer = trainer.optimizer.state_dict()
        memory = optimizer["state"].items()
        arrays = {f"model.{name}": array for name, array in trainer.model.state_dict().items()}
        arrays |= {f"optimizer.{i}.{k}": v for i, kept in memory for k, v in kept.items() if isinstance(v, np.ndarray)}
        arrays |= {f"history.{name}": np.array(column) for name, column in trainer.history.columns().items()}
        steering, more = trainer.steering, {}
        if steering.ema is not None:
            averages = steering.ema.state_dict()
            arrays |= {f"ema.{i}": array for i, array in averages.pop("average").items()}
            more["ema"] = averages
        if steering.early_stopping is not None:
            arrays |= {f"best.{name}": array for name, array in (steering.early_stopping.weights or {}).items()}
        groups = [{**group, "lr": rate} for group, rate in zip(optimizer["param_groups"], self.rates, strict=True)]
        values = {
            "about": self.about,
            "position": asdict(at),
            "optimizer": {
                "param_groups": groups,
                "state": {i: {k: v for k, v in m.items() if not isinstance(v, np.ndarray)} for i, m in memory},
            },
            "random": random.generator().bit_generator.state,
            "loaders": {
                "train": _loader_state(self.train, at.step > 0),
                "validation": _loader_state(self.validation, validating),
            },
        }
        return State(arrays, values | more)

    def restore(self) -> None:
        """Go to the furthest checkpoint; without one, nothing happens."""
        if self.checkpoints is None:
            raise ArgumentError("nothing to go on from", called="Trainer.fit", seen="resume=True, checkpoints=None")
        state = self.checkpoints.read()
        if state is None:
            return
        called = str(self.checkpoints.last)
        try:
            check(state.values["about"], self.about, called)
            history = History.from_columns(state.part("history"))
            self._restore_files(history, called)
            self._load(state)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, MinicnnError):
                raise
            raise WeightsError("a checkpoint that minicnn did not write", called=called, seen=repr(error)) from None
        self.trainer.history = history
        self.checkpoints.announce(f"going on from {self.trainer.position}: {called}")

    def _load(self, state: State) -> None:
        trainer, values = self.trainer, state.values
        trainer.model.load_state_dict(state.part("model"))
        memory: dict[str, dict[str, Any]] = {i: dict(kept) for i, kept in values["optimizer"]["state"].items()}
        for name, array in state.part("optimizer").items():
            i, _, key = name.partition(".")
            memory[i][key] = array
        trainer.optimizer.load_state_dict({"param_groups": values["optimizer"]["param_groups"], "state": memory})
        self.rates = [group["lr"] for group in trainer.optimizer.param_groups]
        self._load_averages(state)
        if trainer.steering.early_stopping is not None:
            trainer.steering.early_stopping.weights = state.part("best") or None
        trainer.position = Position(**values["position"])
        _restore_loader(self.train, values["loaders"]["train"], trainer.position.step)
        _restore_loader(self.validation, values["loaders"]["validation"], 0)
        self._random = values["random"]
        random.generator().bit_generator.state = self._random

    def _restore_files(self, history: History, called: str) -> None:
        """What `on_epoch` has written must be there; the weights of the best epoch are in its checkpoint too."""
        resume, best = getattr(self.trainer.on_epoch, "resume", None), history.best()
        if resume is None or resume(history) or best is None:
            return
        assert self.checkpoints is not None
        state = self.checkpoints.read_best(best.number)
        if state is None:
            raise WeightsError("the weights of the best epoch are lost", called=called, seen=f"epoch {best.number}")
        self.trainer.model.load_state_dict(state.part("model"))
        self._load_averages(state)
        with self.trainer.steering.averaged():
            self.trainer.on_epoch.write_best()  # type: ignore[union-attr]

    def _load_averages(self, state: State) -> None:
        ema = self.trainer.steering.ema
        if ema is not None:
            ema.load_state_dict({**state.values["ema"], "average": state.part("ema")})

    def _about(self) -> dict[str, Any]:
        """What must be the same."""
        trainer, train = self.trainer, self.train
        model = trainer.model
        shapes = json.dumps([[name, array.shape, array.dtype.str] for name, array in model.state_dict().items()])
        images = {"train": train, "validation": self.validation}
        assert self.checkpoints is not None
        about = {
            "minicnn": minicnn.__version__,
            "network": f"{type(model).__name__} {_short(shapes)}",
            "learns": _short(json.dumps([name for name, p in model.named_parameters() if p.requires_grad])),
            "optimizer": type(trainer.optimizer).__name__,
            "images": {k: fingerprint(getattr(v, "dataset", v)) if v is not None else "" for k, v in images.items()},
            "batches": {"number": self.steps, **{k: getattr(train, k, None) for k in ("batch_size", "shuffle")}},
            "epochs": self.epochs,
            "schedule": [trainer.steering.schedule(progress) for progress in (0.0, 0.1, 0.25, 0.5, 0.75, 0.9)],
            "training": self.checkpoints.about,
        }
        about |= trainer.steering.about
        return json.loads(json.dumps(about))


def check(found: dict[str, Any], own: dict[str, Any], called: str) -> None:
    """Raise for the first thing that differs between a checkpoint and what is to go on from it."""
    for name in [*own, *(name for name in OPTIONAL if name not in own)]:
        other = found.get(name) if name in OPTIONAL else found[name]
        if other != own.get(name):
            seen, rule = (str(about.get(name, "none"))[:120] for about in (found, own))
            hint = "install that version, or start anew" if name == "minicnn" else ""
            raise ArgumentError(WHAT_DIFFERS[name], called=called, seen=seen, rule=rule, hint=hint)


def _loader_state(loader: Any, is_running: bool) -> dict[str, int] | None:
    """Seed of a loader, and the epoch that it is in, or that comes next."""
    if not hasattr(loader, "set_epoch"):
        return None
    return {"seed": loader.seed, "epoch": loader.epoch - is_running}


def _restore_loader(loader: Any, state: dict[str, int] | None, step: int) -> None:
    if state is not None and hasattr(loader, "set_epoch"):
        loader.seed = state["seed"]
        loader.set_epoch(state["epoch"], start=step)


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
