"""What all optimizers share: groups of parameters, memory, state dicts. Each optimizer has a file of its own."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from minicnn.autograd import Tensor
from minicnn.backends.arrays import is_array, moved
from minicnn.errors import ArgumentError

Group = dict[str, Any]

NOT_NEGATIVE = ("lr", "weight_decay", "momentum", "eps", "lr_decay", "initial_accumulator_value")


def _in_line(g: Any) -> Any:
    """A NumPy gradient as the compiled updates (`minicnn.ops.updates`) want it: contiguous."""
    return np.ascontiguousarray(g) if isinstance(g, np.ndarray) and g.ndim else g


def _saved(value: Any) -> Any:
    """What an optimizer remembers, for a state dict: arrays as copies on the CPU."""
    return moved(value, "cpu").copy() if is_array(value) else value


def _loaded(value: Any, device: str) -> Any:
    """What a state dict holds, for the optimizer of a parameter on that device."""
    return moved(value.copy(), device) if is_array(value) else value


class Optimizer:
    """Base: parameter groups, and a state of named arrays for each parameter.

    Parameters
    ----------
    params : iterable of Tensors, or of dicts
        A dict is a group, `{"params": [...], "lr": 1e-4}`: what it leaves out comes from the defaults.
    defaults : dict
        Settings of the optimizer.
    """

    MEMORY: tuple[str, ...] | None = None  # names of what is remembered for each parameter (PyTorch's); None: any
    SOMETIMES: tuple[str, ...] = ()  # names of what some settings need besides

    def __init__(self, params: Iterable[Any], defaults: Group) -> None:
        name = type(self).__name__
        items = [params] if isinstance(params, (Tensor, dict)) else list(params)
        if not items:
            raise ArgumentError("no parameters", called=name, hint="pass model.parameters(); is everything frozen?")
        groups: list[Any] = items if isinstance(items[0], dict) else [{"params": items}]
        self.defaults = defaults
        self.param_groups: list[Group] = []
        self.state: dict[Tensor, dict[str, Any]] = {}
        for group in groups:
            self.add_param_group(group)

    def add_param_group(self, group: Group) -> None:
        """Take over parameters with settings of their own, `{"params": [...], "lr": 1e-4}`."""
        name = type(self).__name__
        if not isinstance(group, dict) or "params" not in group:
            raise ArgumentError("not a parameter group", called=name, rule='{"params": [...], ...} each')
        if unknown := sorted(set(group) - set(self.defaults) - {"params"}):
            raise ArgumentError(
                f"unknown setting {unknown[0]!r}", called=name, rule=f"settings: {', '.join(sorted(self.defaults))}"
            )
        tensors = [group["params"]] if isinstance(group["params"], Tensor) else list(group["params"])
        seen = {id(tensor) for known in self.param_groups for tensor in known["params"]}
        for tensor in tensors:
            if not isinstance(tensor, Tensor):
                raise ArgumentError("not a parameter", called=name, seen=type(tensor).__name__)
            if not tensor.is_leaf:
                raise ArgumentError(
                    "not a leaf: an operation made this tensor", called=name, seen=str(tensor.node), hint="detach() it"
                )
            if id(tensor) in seen:
                raise ArgumentError("a parameter comes twice", called=name, seen=f"shape {tensor.shape}")
            seen.add(id(tensor))
        whole = {**self.defaults, **group, "params": tensors}
        self._check(whole)
        self.param_groups.append(whole)

    def _check(self, group: Group) -> None:
        name = type(self).__name__
        for key in NOT_NEGATIVE:
            value = group.get(key, 0)
            is_number = isinstance(value, numbers.Real)
            if not (is_number and value >= 0):
                raise ArgumentError(f"{key} is not valid", called=name, seen=f"{key}={value!r}", rule=f"{key} >= 0")
        betas = group.get("betas", (0.0, 0.0))
        if not isinstance(betas, (tuple, list)) or len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise ArgumentError("betas are not valid", called=name, seen=str(betas), rule="two, 0 <= beta < 1")

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for group in self.param_groups:
            for p in group["params"]:
                p.grad = None

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move every parameter that has a gradient; `closure`, if given, computes the loss again first."""
        loss = closure() if closure is not None else None
        with np.errstate(all="ignore"):  # gradients that blow up show it by themselves
            for group in self.param_groups:
                for p in group["params"]:
                    if p.grad is not None and p.requires_grad:
                        self.update(p.array, _in_line(p.grad.array), self.state.setdefault(p, {}), group)
        return loss

    def update(self, w: np.ndarray, g: np.ndarray, state: dict[str, Any], group: Group) -> None:
        """Change the array w in place by one step along its gradient g."""
        raise ArgumentError("this optimizer has no update", called=type(self).__name__)

    def state_dict(self) -> dict[str, Any]:
        """Settings of each group, and the memory of each parameter by its number; laid out and named as PyTorch's.

        Returns
        -------
        dict
            `{"state": {0: {"momentum_buffer": array}, ...}, "param_groups": [{"lr": ..., "params": [0, 1, ...]}, ...]}`
            Arrays are copies on the CPU.
        """
        tensors = [p for group in self.param_groups for p in group["params"]]
        groups, first = [], 0
        for group in self.param_groups:
            numbers = list(range(first, first + len(group["params"])))
            groups.append({**group, "params": numbers})
            first += len(numbers)
        memory = {i: {k: _saved(v) for k, v in self.state[p].items()} for i, p in enumerate(tensors) if p in self.state}
        return {"state": memory, "param_groups": groups}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave; nothing is taken over unless everything fits."""
        tensors = [p for group in self.param_groups for p in group["params"]]
        if not self._fits(state, tensors):
            raise ArgumentError(
                "the state is of another optimizer",
                called=f"{type(self).__name__}.load_state_dict",
                rule="the same kind of optimizer, groups and shapes of parameters",
            )
        for group, saved in zip(self.param_groups, state["param_groups"], strict=True):
            # A pair that went through JSON comes back as a list.
            values = {k: tuple(v) if isinstance(v, list) else v for k, v in saved.items() if k != "params"}
            group.update(values)
        self.state = {
            tensors[int(i)]: {k: _loaded(v, tensors[int(i)].device) for k, v in values.items()}
            for i, values in state["state"].items()
        }

    def _fits(self, state: dict[str, Any], tensors: list[Tensor]) -> bool:
        """Whether a state has the settings of these groups, and arrays of the shapes of these parameters."""
        own = [(set(group), len(group["params"])) for group in self.param_groups]
        if [(set(group), len(group["params"])) for group in state["param_groups"]] != own:
            return False
        if any(not 0 <= int(i) < len(tensors) for i in state["state"]):
            return False
        return all(
            (not values or self.MEMORY is None or set(self.MEMORY) <= set(values) <= {*self.MEMORY, *self.SOMETIMES})
            and all(
                not isinstance(value, np.ndarray) or value.shape == tensors[int(i)].shape for value in values.values()
            )
            for i, values in state["state"].items()
        )
