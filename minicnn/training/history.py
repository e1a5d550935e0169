"""What training notes down, epoch by epoch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Epoch:
    """One pass over the training images, and the validation after it.

    Attributes
    ----------
    number : int
        From 1.
    train_loss, train_accuracy : float
        Means over the epoch's images, each at the moment of its step: the network learned in between.
    validation_loss, validation_accuracy, macro_f1 : float or None
        On the validation images, after the epoch; None without such.
    lr : float
        Learning rate of the last step (of the first parameter group).
    seconds : float
        Of training: without validation, and without compiling kernels.
    images_per_second : float
        Training images by these seconds.
    """

    number: int
    train_loss: float
    train_accuracy: float
    validation_loss: float | None
    validation_accuracy: float | None
    macro_f1: float | None
    lr: float
    seconds: float
    images_per_second: float

    def __str__(self) -> str:
        line = f"epoch {self.number}: train loss {self.train_loss:.4f}, accuracy {self.train_accuracy:.1%}"
        if self.validation_loss is not None:
            line += f"; validation loss {self.validation_loss:.4f}, accuracy {self.validation_accuracy:.1%}"
            line += f", macro F1 {self.macro_f1:.3f}"
        return f"{line}; {self.seconds:.1f} s, {self.images_per_second:,.0f} images/s"


@dataclass
class History:
    """The epochs of one training, oldest first."""

    epochs: list[Epoch] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.epochs)

    def __iter__(self) -> Iterator[Epoch]:
        return iter(self.epochs)

    def __getitem__(self, index: int) -> Epoch:
        return self.epochs[index]

    def column(self, name: str) -> list[Any]:
        """One value of all epochs: `history.column("train_loss")`."""
        return [getattr(epoch, name) for epoch in self.epochs]

    def columns(self) -> dict[str, list[Any]]:
        """All values by name, without those that no epoch has."""
        return {name: column for name, column in self.as_dict().items() if None not in column}

    @classmethod
    def from_columns(cls, columns: Mapping[str, Any]) -> History:
        """The reverse of `columns`, from arrays."""
        empty = dict.fromkeys(("validation_loss", "validation_accuracy", "macro_f1"))
        rows = zip(*(column.tolist() for column in columns.values()), strict=True)
        return cls([Epoch(**{**empty, **dict(zip(columns, row, strict=True))}) for row in rows])

    @property
    def seconds(self) -> float:
        """Of training, all epochs."""
        return sum(self.column("seconds"))

    def best(self) -> Epoch | None:
        """The epoch with the highest validation accuracy, of equal ones that with the lowest validation loss, then the
        first; without validation images, that with the lowest training loss.
        """
        return max(self.epochs, key=_merit, default=None)

    def as_dict(self) -> dict[str, list[Any]]:
        """A list for each column, ready for JSON."""
        names = asdict(self.epochs[0]) if self.epochs else {}
        return {name: self.column(name) for name in names}

    def __str__(self) -> str:
        return "\n".join(map(str, self.epochs))


def _merit(epoch: Epoch) -> tuple[float, float]:
    if epoch.validation_accuracy is None or epoch.validation_loss is None:
        return 0.0, -epoch.train_loss
    return epoch.validation_accuracy, -epoch.validation_loss
