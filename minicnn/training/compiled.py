"""Networks in the style of compile / fit / predict (document system S3): a thin layer over `nn`, `optim` and `Trainer`.

::

    from minicnn.training.compiled import Conv2D, Dense, Flatten, MaxPooling2D, Sequential

    model = Sequential([
        Conv2D(32, (3, 3), activation="relu", input_shape=(1, 28, 28)),
        MaxPooling2D((2, 2)),
        Flatten(),
        Dense(64, activation="relu"),
        Dense(10, activation="softmax"),
    ])
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(x_train, y_train, epochs=5, batch_size=32, validation_data=(x_test, y_test))
    loss, accuracy = model.evaluate(x_test, y_test)
    probabilities = model.predict(x_test)

What is other than in Keras, and why:

- Images are (N, C, H, W), as everywhere in minicnn; a shape with the channels last is an error that says so.
- The softmax of the last layer is not a layer of `network`: the loss is computed from its inputs (the scores), where
  log(softmax) neither overflows nor loses digits. `predict` applies it.
- Initial values are minicnn's (and PyTorch's), uniform in +-1/sqrt(fan in); Keras draws Glorot's.
- `fit` returns the trainer's `History`; losses are two, both cross-entropy: the trainer classifies.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from minicnn import nn, optim
from minicnn.autograd import Tensor, no_grad
from minicnn.data import ArrayDataset, DataLoader
from minicnn.data.checks import integer
from minicnn.errors import ArgumentError, DataError, DTypeError, ShapeError
from minicnn.ops.windows import is_whole
from minicnn.training.compiled_labels import ONE_HOT, SPARSE, as_numbers
from minicnn.training.compiled_layers import (
    AveragePooling2D,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Layer,
    MaxPooling2D,
    Shape,
)
from minicnn.training.evaluation import Evaluation
from minicnn.training.history import History
from minicnn.training.trainer import Trainer

__all__ = ["AveragePooling2D", "Conv2D", "Dense", "Dropout", "Flatten", "MaxPooling2D", "Sequential"]

METRICS = ("accuracy", "macro_f1")
RATES = {"sgd": 1e-2}  # Keras's, where it is not 1e-3
EVALUATION_BATCH = 128


class Sequential:
    """Layers one after the other, that are compiled, fitted, and asked.

    Parameters
    ----------
    layers : iterable of layers
        Those of `compiled_layers.py`, and any `nn.Module`. The first has `input_shape=(C, H, W)`, or the images of the
        first call say it.

    Attributes
    ----------
    network : nn.Sequential or None
        What was built: it gives scores, before the last softmax. For everything else that minicnn can do.
    trainer : Trainer or None
    """

    def __init__(self, layers: Iterable[Layer | nn.Module] = ()) -> None:
        self.layers: list[Layer | nn.Module] = []
        self.network: nn.Sequential | None = None
        self.trainer: Trainer | None = None
        self._compiled: tuple[Any, str, tuple[str, ...]] | None = None
        for layer in layers:
            self.add(layer)

    def add(self, layer: Layer | nn.Module) -> None:
        """One layer more, at the end."""
        if not isinstance(layer, (Layer, nn.Module)):
            raise ArgumentError(
                "not a layer",
                called="Sequential.add",
                seen=type(layer).__name__,
                rule="Conv2D, Dense, ... or nn.Module",
            )
        if self.network is not None:
            raise ArgumentError("the network is built already", called="Sequential.add", hint="add layers before fit")
        self.layers.append(layer)

    # ---- what it learns by -------------------------------------------------------------------------------------------

    def compile(
        self,
        optimizer: str | Callable[[Any], optim.Optimizer] = "adam",
        loss: str = SPARSE,
        metrics: Sequence[str] = ("accuracy",),
    ) -> None:
        """Say how it learns, and build the network if the first layer has an `input_shape`; learned weights stay.

        Parameters
        ----------
        optimizer : str or callable
            "adam", "sgd", ... with Keras's rates (0.001; sgd 0.01); or from parameters to an optimizer:
            `lambda parameters: optim.SGD(parameters, lr=0.1, momentum=0.9)`.
        loss : str
            "sparse_categorical_crossentropy" for labels that are numbers, (N,); "categorical_crossentropy" for one-hot
            rows, (N, classes).
        metrics : sequence of str
            What `evaluate` gives after the loss: "accuracy", "macro_f1".
        """
        if loss not in (SPARSE, ONE_HOT):
            raise ArgumentError("unknown loss", called="compile", seen=repr(loss), rule=f"{SPARSE!r} or {ONE_HOT!r}")
        if isinstance(metrics, str) or any(metric not in METRICS for metric in metrics):
            raise ArgumentError("unknown metric", called="compile", seen=repr(metrics), rule=f"a list of {METRICS}")
        if not callable(optimizer):
            known = _optimizers()
            if optimizer not in known:
                raise ArgumentError(
                    "unknown optimizer", called="compile", seen=repr(optimizer), rule=f"one of {', '.join(known)}"
                )
            name = optimizer
            self._compiled = (lambda p: known[name](p, lr=RATES.get(name, 1e-3)), loss, tuple(metrics))
        else:
            self._compiled = (optimizer, loss, tuple(metrics))
        self.trainer = None
        if self.network is None and self.layers and getattr(self.layers[0], "input_shape", None) is not None:
            self._build("compile", None)

    # ---- what it does ------------------------------------------------------------------------------------------------

    def fit(
        self,
        x: Any,
        y: Any,
        epochs: int = 1,
        batch_size: int = 32,
        validation_data: tuple[Any, Any] | None = None,
        *,
        shuffle: bool = True,
        seed: int = 0,
        verbose: bool | None = None,
    ) -> History:
        """Learn; a second call goes on from where the first ended.

        Parameters
        ----------
        x : float array (N, C, H, W)
            float64 becomes float32.
        y : array
            Labels, as the loss wants them.
        epochs, batch_size : int
        validation_data : (x, y), optional
        shuffle : bool
        seed : int
            Of the order.
        verbose : bool or None
            Whether a progress bar is shown; None: on a terminal.

        Returns
        -------
        History
        """
        integer("fit", "batch_size", batch_size, 1)
        train = self._dataset("fit", x, y)
        trainer = self._trainer("fit")
        trainer.progress = verbose
        validation = None
        if validation_data is not None:
            if not isinstance(validation_data, (tuple, list)) or len(validation_data) != 2:
                raise ArgumentError("validation_data is not (x, y)", called="fit", seen=type(validation_data).__name__)
            validation = DataLoader(self._dataset("validation_data", *validation_data), EVALUATION_BATCH)
        return trainer.fit(DataLoader(train, batch_size, shuffle=shuffle, seed=seed), validation, epochs)

    def evaluate(self, x: Any, y: Any) -> list[float]:
        """The loss, and the metrics in their order."""
        found = self.evaluation(x, y)
        values = {"accuracy": found.metrics.accuracy, "macro_f1": found.metrics.macro_f1}
        return [found.loss, *(values[name] for name in self._compilation("evaluate")[2])]

    def evaluation(self, x: Any, y: Any) -> Evaluation:
        """Everything that the trainer measures: confusion matrix, values of each class, ..."""
        return self._trainer("evaluate").evaluate(DataLoader(self._dataset("evaluate", x, y), EVALUATION_BATCH))

    def predict(self, x: Any) -> np.ndarray:
        """Probabilities (N, classes)."""
        images = self._images("predict", x)
        return self._trainer("predict").predict(images)

    def summary(self) -> Any:
        """A table of the network; print it."""
        if self.network is None:
            self._build("summary", None)
        assert self.network is not None
        return nn.summary(self.network, (1, *self._shape))

    # ---- building ----------------------------------------------------------------------------------------------------

    def _build(self, called: str, shape: Shape | None) -> None:
        """Make the network for images of this shape."""
        if not self.layers:
            raise ArgumentError("no layers", called=called, hint="Sequential([...]), or add()")
        own = getattr(self.layers[0], "input_shape", None)
        if own is None and shape is None:
            raise ArgumentError("the shape of the images is not known", called=called, hint="input_shape=(C, H, W)")
        if own is not None and (not isinstance(own, (tuple, list)) or not all(is_whole(n) and n > 0 for n in own)):
            raise ArgumentError("input_shape is not valid", called=called, seen=repr(own), rule="(C, H, W), each > 0")
        made: list[nn.Module] = []
        self._shape: Shape = tuple(own if own is not None else shape or ())
        y = Tensor(np.zeros((1, *self._shape), np.float32))
        for layer in self.layers:
            if any(isinstance(module, nn.Softmax) for module in made):
                raise ArgumentError("softmax before the last layer", called=called, rule="in the last layer only")
            new = [layer] if isinstance(layer, nn.Module) else layer.modules(y.shape[1:])
            with no_grad():
                for module in new:
                    y = module.eval()(y)
                    module.train()
            made += new
        if not isinstance(made[-1], nn.Softmax):
            raise ArgumentError(
                "the last layer gives no probabilities",
                called=called,
                seen=repr(self.layers[-1])[:80],
                rule="both losses are of probabilities",
                hint='Dense(classes, activation="softmax")',
            )
        if y.ndim != 2 or y.shape[1] < 2:
            raise ShapeError("not a classification", called=called, seen=f"output {y.shape}", rule="(N, classes >= 2)")
        self._classes = y.shape[1]
        self.network = nn.Sequential(*made[:-1])

    def _compilation(self, called: str) -> tuple[Any, str, tuple[str, ...]]:
        if self._compiled is None:
            raise ArgumentError("the model is not compiled", called=called, hint="model.compile(optimizer, loss) first")
        return self._compiled

    def _trainer(self, called: str) -> Trainer:
        make = self._compilation(called)[0]
        if self.trainer is None:
            assert self.network is not None
            optimizer = make(self.network.parameters())
            self.trainer = Trainer(self.network, optimizer, nn.CrossEntropyLoss(), progress=None)
        return self.trainer

    # ---- images and labels -------------------------------------------------------------------------------------------

    def _images(self, called: str, x: Any) -> np.ndarray:
        x = np.asarray(x)
        if x.dtype.kind != "f":
            raise DTypeError(
                "images are not floats", called=called, seen=str(x.dtype), rule="floats", hint="x / 255 for bytes"
            )
        if x.ndim < 2 or not len(x):
            raise DataError("no images", called=called, seen=f"x {x.shape}", rule="x: (N, C, H, W), N > 0")
        if self.network is None:
            self._build(called, x.shape[1:])
        if x.shape[1:] != self._shape:
            last = len(self._shape) == 3 and x.shape[1:] == (*self._shape[1:], self._shape[0])
            hint = "channels come first here: x.transpose(0, 3, 1, 2)" if last else ""
            if x.shape[1:] == self._shape[1:] and self._shape[0] == 1:
                hint = "one channel: x[:, None]"
            raise ShapeError(
                "the images do not fit the network",
                called=called,
                seen=f"x {x.shape}",
                rule=f"(N, {', '.join(map(str, self._shape))})",
                hint=hint,
            )
        return x.astype(np.float32, copy=False)

    def _dataset(self, called: str, x: Any, y: Any) -> ArrayDataset:
        loss = self._compilation(called)[1]
        x = self._images(called, x)
        labels = as_numbers(called, np.asarray(y), loss, self._classes)
        if len(labels) != len(x):
            raise ShapeError("not as many labels as images", called=called, seen=f"x {x.shape}, y {np.shape(y)}")
        return ArrayDataset(x, labels, [str(i) for i in range(self._classes)])


def _optimizers() -> dict[str, Callable[..., optim.Optimizer]]:
    """Those of `minicnn.optim`, under Keras's names: small letters."""
    found = {name.lower(): getattr(optim, name) for name in optim.__all__}
    return {
        name: kind
        for name, kind in sorted(found.items())
        if inspect.isclass(kind) and issubclass(kind, optim.Optimizer) and kind is not optim.Optimizer
    }
