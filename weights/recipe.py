"""The recipe of a pretraining, as `pretrain.py` (minicnn) and `pretrain_in_torch.py` (PyTorch) follow it."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from minicnn.data import ArrayDataset, DataLoader, HDF5Images, transforms
from minicnn.training.schedules import cosine


@dataclass(frozen=True)
class Recipe:
    """What a recipe file says; `values` are its tables as they stand there."""

    path: Path
    values: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> Recipe:
        """Read a recipe file."""
        return cls(path, tomllib.loads(path.read_text()))

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    @property
    def epochs(self) -> int:
        """Passes over the training images, in all phases together."""
        return sum(phase["epochs"] for phase in self["phases"])

    def phase(self, epoch: int) -> dict[str, Any]:
        """The phase to which an epoch (from 1) belongs."""
        for phase in self["phases"]:
            if epoch <= phase["epochs"]:
                return phase
            epoch -= phase["epochs"]
        raise IndexError(f"the recipe has {self.epochs} epochs")

    @cached_property
    def _schedule(self) -> Any:
        return cosine(self["training"]["warmup_epochs"] / self.epochs)

    def rate(self, epoch: int, step: int, steps: int) -> float:
        """The learning rate of a step (from 0) of an epoch (from 1)."""
        return self["training"]["lr"] * self._schedule((epoch - 1 + step / steps) / self.epochs)

    def groups(self, named_parameters: Any) -> list[dict[str, Any]]:
        """Parameter groups for SGD, of minicnn or of PyTorch: batch norm and biases are not decayed."""
        parameters = [parameter for _, parameter in named_parameters]
        return [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": self["training"]["weight_decay"]},
            {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0.0},
        ]

    def loader(self, dataset: Any, epoch: int) -> DataLoader:
        """Batches of the training images for an epoch: random parts at the size of its phase, mirrored at random."""
        phase = self.phase(epoch)
        moved = [transforms.RandomResizedCrop(phase["size"], tuple(phase["scale"])), transforms.RandomHorizontalFlip()]
        view = dataset.with_transform(transforms.Compose([*moved, *self._end]))
        options = {"shuffle": True, "drop_last": True, "num_workers": 1}
        loader = DataLoader(view, self["training"]["batch_size"], seed=self["training"]["seed"], **options)
        loader.set_epoch(epoch)
        return loader

    def row(self, epoch: int, steps: int, loss: float, right: int, seconds: float) -> dict[str, Any]:
        """A row of the log: `loss` is the sum over the steps, `right` the number of images that were recognised."""
        accuracy = right / (steps * self["training"]["batch_size"])
        row = {"epoch": epoch, "size": self.phase(epoch)["size"], "loss": round(loss / steps, 4)}
        return {**row, "accuracy": round(accuracy, 4), "seconds": round(seconds)}

    def test_loader(self, dataset: Any) -> DataLoader:
        """Batches of the test images, as they are."""
        return DataLoader(dataset.with_transform(transforms.Compose(self._end)), 250)

    @property
    def _end(self) -> list[Any]:
        return [transforms.ToTensor(), transforms.Normalize(self["images"]["mean"], self["images"]["std"])]


class Decoded:
    """A split of an image set, decoded once: a GiB for 80,000 images of 64x64, and no time in later epochs."""

    def __init__(self, path: Path, split: str) -> None:
        stored = HDF5Images(path, split)
        first, _ = stored[0]
        self.images = np.empty((len(stored), first.height, first.width, 3), np.uint8)
        for i in tqdm(range(len(stored)), f"decoding {split}", disable=None, leave=False):
            self.images[i] = np.asarray(stored[i][0])
        self.labels, self.classes = stored.labels, stored.classes

    def with_transform(self, transform: Any) -> ArrayDataset:
        """The data set whose images go through a transform."""
        return ArrayDataset(self.images, self.labels, self.classes, transform)
