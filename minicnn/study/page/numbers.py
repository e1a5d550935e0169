"""What the page shows of a recording: a description as JSON, and blocks of its arrays, each by a key.

Keys: `t5` is tensor 5; `g5` the gradient of the loss with respect to it, from all that used it; `c7:x` what step 7
alone sends back to its input x; `k7:mean` an array that step 7 was given or kept beside its inputs. `e7:y` and `e7:x`
have an explanation at each index, of the output and of that gradient, where the page has no view of its own.

The description is made of names that may come from a weights file (layers, classes); the page puts them in as text,
never as markup.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from minicnn.autograd import Tensor
from minicnn.backends.arrays import is_array, moved
from minicnn.backends.cpu import TILE, lanes_of
from minicnn.errors import ArgumentError, MinicnnError, printable
from minicnn.ops.conv2d.winograd_transforms import matrices
from minicnn.ops.registry import algorithm
from minicnn.study.explain import EXPLAINERS
from minicnn.study.page.explained import EXPLAINED, MOST_TERMS, explanation_of, view_of
from minicnn.study.recording import Recording, Step

VERSION = 1
MOST_VALUES = 2**22  # of one block: 16 MiB in float32
LONGEST_NAME = 120
KEPT = ("winner", "inv_std", "mask")  # saved arrays that are shown; the others are inputs or outputs
WINOGRAD = ("at", "g", "bt")
Ranges = Sequence[Sequence[int]]


class Numbers:
    """A recording's arrays by keys, and a description of what they are.

    Parameters
    ----------
    recording : Recording
    classes : sequence of str, optional
        Names of the classes.
    title, about : str, optional
        Two lines at the top of the page.

    Attributes
    ----------
    tensors : list of Tensor
        Images, parameters, and all outputs; `t3` is `tensors[3]`.
    """

    def __init__(
        self, recording: Recording, classes: Iterable[str] = (), *, title: str = "minicnn", about: str = ""
    ) -> None:
        self.recording = recording
        self.classes = [clipped(name) for name in classes]
        self.title, self.about = clipped(title), clipped(about, 4 * LONGEST_NAME)
        self._sent: dict[int, dict[str, Any]] = {}
        self._name_tensors()
        self._keys: dict[str, tuple[int, ...]] = {}
        self._explained: dict[str, tuple[int, ...]] = {}
        self.description = self._described()

    # ---- the description ---------------------------------------------------------------------------------------------

    def _name_tensors(self) -> None:
        recording = self.recording
        self.tensors: list[Tensor] = []
        self._numbers: dict[int, int] = {}
        self._makers: dict[int, int] = {}
        self._users: dict[int, list[int]] = {}
        self._parameters = {id(tensor): name for name, tensor in recording.model.named_parameters()}
        self._add(recording.images)
        for step in recording.steps:
            for tensor in step.inputs:
                if tensor is not None:
                    self._users.setdefault(self._add(tensor), []).append(step.number)
            self._makers[self._add(step.output)] = step.number

    def _add(self, tensor: Tensor) -> int:
        if id(tensor) not in self._numbers:
            self._numbers[id(tensor)] = len(self.tensors)
            self.tensors.append(tensor)
        return self._numbers[id(tensor)]

    def _described(self) -> dict[str, Any]:
        recording = self.recording
        return {
            "version": VERSION,
            "title": self.title,
            "about": self.about,
            "classes": self.classes,
            "loss": None if recording.loss is None else _number(recording.loss),
            "output": self._numbers.get(id(recording.output)),
            "tensors": [self._tensor(number, tensor) for number, tensor in enumerate(self.tensors)],
            "steps": [self._step(step) for step in recording.steps],
            "winograd": {str(m): dict(zip(WINOGRAD, map(np.ndarray.tolist, matrices(m)), strict=True)) for m in (2, 4)},
            "tile": [*TILE, lanes_of(np.float32)],
        }

    def _tensor(self, number: int, tensor: Tensor) -> dict[str, Any]:
        self._keys[f"t{number}"] = tensor.shape
        gradient = self._gradient(tensor)
        if gradient is not None:
            self._keys[f"g{number}"] = tensor.shape
        parameter = self._parameters.get(id(tensor))
        kind = "image" if tensor is self.recording.images else "parameter" if parameter else "value"
        return {
            "shape": list(tensor.shape),
            "kind": "constant" if kind == "value" and number not in self._makers else kind,
            "name": clipped(parameter or ""),
            "maker": self._makers.get(number),
            "users": self._users.get(number, []),
            "gradient": gradient is not None,
        }

    def _step(self, step: Step) -> dict[str, Any]:
        inputs = {
            name: self._numbers[id(tensor)]
            for name, tensor in zip(step.names, step.inputs, strict=True)
            if tensor is not None
        }
        arrays = self._arrays(step)
        for name, array in arrays.items():
            self._keys[f"k{step.number}:{name}"] = array.shape
        own = []
        for name, number in inputs.items():
            several = len(self._users[number]) > 1
            if step.dy is not None and several and self._needs(step, name):
                self._keys[f"c{step.number}:{name}"] = self.tensors[number].shape
                own.append(name)
        view = view_of(step)
        return {
            "view": view,
            "terms": self._with_terms(step) if view == EXPLAINED else [],
            "layer": clipped(step.layer),
            "operation": step.operation.name,
            "formula": step.operation.formula,
            "inputs": inputs,
            "output": self._numbers[id(step.output)],
            "options": {name: value for name, value in step.options.items() if _is_plain(value)},
            "arrays": {name: list(array.shape) for name, array in sorted(arrays.items())},
            "own": own,
            "back": step.dy is not None,
            "algorithm": _algorithm(step),
            "held": True,
        }

    def _with_terms(self, step: Step) -> list[str]:
        """The output and the gradients of a step that have explanations: "y", "x", ..."""
        known = EXPLAINERS.get(step.operation.name, {})
        shapes = {"y": step.output.shape} if "y" in known else {}
        for name, tensor in zip(step.names, step.inputs, strict=True):
            if tensor is not None and step.dy is not None and self._needs(step, name) and f"grad {name}" in known:
                shapes[name] = tensor.shape
        self._explained.update({f"e{step.number}:{name}": shape for name, shape in shapes.items()})
        return list(shapes)

    def _needs(self, step: Step, name: str) -> bool:
        node = step.output.node
        return node is not None and dict(zip(step.names, node.needs, strict=True)).get(name, False)

    def _arrays(self, step: Step) -> dict[str, Any]:
        kept = {name: value for name, value in step.saved.items() if name in KEPT and is_array(value)}
        return {**{name: value for name, value in step.options.items() if is_array(value)}, **kept}

    def _gradient(self, tensor: Tensor) -> Any:
        name = self._parameters.get(id(tensor))
        if name is not None:
            return self.recording.gradients.get(name)
        return None if tensor.grad is None else tensor.grad.array

    # ---- arrays ------------------------------------------------------------------------------------------------------

    def shape(self, key: str) -> tuple[int, ...]:
        """Shape of the array of that key; raises where there is none."""
        if key not in self._keys:
            raise ArgumentError("no such array", called="Numbers", seen=f"key {clipped(str(key))!r}")
        return self._keys[key]

    def block(self, key: str, ranges: Ranges | None = None) -> np.ndarray:
        """A part of an array, copied.

        Parameters
        ----------
        key : str
        ranges : sequence of (start, stop), optional
            For each axis; without, the whole array.

        Returns
        -------
        array
            C order, little-endian float32, float64 (where the network computed in it) or int32.

        Raises
        ------
        ArgumentError
            Unknown key, a range outside of the array, or more than 2^22 values.
        """
        shape = self.shape(key)
        where = [(0, size) for size in shape] if ranges is None else [tuple(pair) for pair in ranges]
        fits = len(where) == len(shape) and all(
            len(pair) == 2 and all(type(v) is int for v in pair) and 0 <= pair[0] <= pair[1] <= size
            for pair, size in zip(where, shape, strict=False)
        )
        if not fits:
            raise ArgumentError("ranges that do not fit", called=key, seen=str(ranges)[:200], rule=f"shape {shape}")
        if math.prod(stop - start for start, stop in where) > MOST_VALUES:
            raise ArgumentError("too large a block", called=key, seen=str(where), rule=f"at most {MOST_VALUES} values")
        array = self._array(key)[tuple(slice(*pair) for pair in where)]
        return np.array(moved(array, "cpu"), _wire_type(array.dtype), order="C")

    def _array(self, key: str) -> Any:
        kind, _, name = key.partition(":")
        number = int(kind[1:])
        if kind[0] == "t":
            return self.tensors[number].array
        if kind[0] == "g":
            return self._gradient(self.tensors[number])
        step = self.recording.steps[number]
        return self._own_gradients(step)[name] if kind[0] == "c" else self._arrays(step)[name]

    def _own_gradients(self, step: Step) -> dict[str, Any]:
        if step.number not in self._sent:
            while len(self._sent) >= 4:  # they are computed again where they are asked for again
                del self._sent[next(iter(self._sent))]
            self._sent[step.number] = step.gradients()
        return self._sent[step.number]

    def explanation(self, key: str, index: Sequence[int], most: int = MOST_TERMS) -> dict[str, Any]:
        """Where one number comes from (see `explanation_of`): `explanation("e7:x", (0, 3, 2))`.

        Raises
        ------
        ArgumentError
            Unknown key, or an index outside of the array.
        MismatchError
            The terms do not give the engine's value.
        """
        if key not in self._explained:
            raise ArgumentError("no such explanation", called="Numbers", seen=f"key {clipped(str(key))!r}")
        shape = self._explained[key]
        fits = len(index) == len(shape) and all(
            type(i) is int and 0 <= i < size for i, size in zip(index, shape, strict=False)
        )
        if not fits:
            raise ArgumentError("an index that does not fit", called=key, seen=str(index)[:200], rule=f"shape {shape}")
        step, name = self._explained_of(key)
        engine = float(moved(self.values_of(key), "cpu")[tuple(index)])
        return explanation_of(self.recording, step, name, tuple(index), engine, most)

    def values_of(self, key: str) -> Any:
        """The array that the explanations of `e7:y` are about."""
        step, name = self._explained_of(key)
        return step.output.array if name == "y" else self._own_gradients(step)[name]

    def _explained_of(self, key: str) -> tuple[Step, str]:
        kind, _, name = key.partition(":")
        return self.recording.steps[int(kind[1:])], name

    def keys_of(self, number: int) -> list[str]:
        """Keys of all arrays that the page needs to explain a step."""
        step = self.description["steps"][number]
        tensors = [*step["inputs"].values(), step["output"]]
        wanted = [f"{kind}{tensor}" for tensor in tensors for kind in "tg"]
        wanted += [f"k{number}:{name}" for name in step["arrays"]] + [f"c{number}:{name}" for name in step["own"]]
        return [key for key in dict.fromkeys(wanted) if key in self._keys]


def clipped(text: str, most: int = LONGEST_NAME) -> str:
    """Text of a bounded length, without letters that steer what shows it."""
    text = printable(" ".join(str(text).split()))
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _number(tensor: Tensor) -> float | None:
    if tensor.numel() != 1:
        return None
    value = float(np.asarray(moved(tensor.array, "cpu")).reshape(()))
    return value if math.isfinite(value) else None


def _is_plain(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return len(value) <= 16 and all(_is_plain(item) for item in value)
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, (bool, int, str))


def _wire_type(dtype: Any) -> str:
    if dtype.kind in "iub":
        return "<i4"
    return "<f8" if dtype == np.float64 else "<f4"


def _algorithm(step: Step) -> str:
    """The algorithm that computed the output of a step, where the operation has several."""
    op = step.operation
    if len(op.algorithms) < 2:
        return ""
    try:
        with algorithm(**step.algorithms):
            problem = op.problem("forward", [None if t is None else t.array for t in step.inputs], step.options)
            return op.pick(problem).name
    except (MinicnnError, KeyError, TypeError, IndexError, AttributeError, StopIteration):
        return ""  # options in a form that only the operation itself completes
