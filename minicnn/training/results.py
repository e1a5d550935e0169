"""What a fine-tuning came to."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Row:
    """What one way came to.

    Attributes
    ----------
    way : str
    accuracy, macro_f1 : float
        On the images that were not trained on, after the last epoch.
    seconds : float
        Of training: without validation, and without compiling kernels.
    """

    way: str
    accuracy: float
    macro_f1: float
    seconds: float


@dataclass(frozen=True)
class FinetuneResult:
    """What `finetune` came to; printed, the final table.

    Attributes
    ----------
    rows : list of Row
        One a way; the last one is the way of `model.h5`.
    classes : list of str
    train_images, validation_images : int
    folder : Path
        The run's folder; metrics in detail and learning curves stand in its `metrics.json`.
    seconds, compile_seconds : float
        Of everything, and of compiling kernels in it (0 once they are compiled).
    skipped_images : int
        Images that were left out because they cannot be read.
    """

    rows: list[Row]
    classes: list[str]
    train_images: int
    validation_images: int
    folder: Path
    seconds: float
    compile_seconds: float
    skipped_images: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {**asdict(self), "folder": self.folder.as_posix()}

    def __str__(self) -> str:
        width = max(len(row.way) for row in self.rows)
        head = f"{'':{width}}  accuracy  macro F1  seconds"
        rule = "-" * len(head)
        rows = [f"{row.way:{width}}  {row.accuracy:8.1%}  {row.macro_f1:8.3f}  {row.seconds:7.1f}" for row in self.rows]
        images = (
            f"{self.train_images:,} images to train on, {self.validation_images:,} to test, {len(self.classes)} classes"
        )
        images += f", {self.skipped_images:,} left out" if self.skipped_images else ""
        times = f"{self.seconds:.1f} s in all, {self.compile_seconds:.1f} s of it compiling"
        return "\n".join([head, rule, *rows, rule, images, times, f"results: {self.folder}"])
