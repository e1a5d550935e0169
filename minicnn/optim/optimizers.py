"""Optimizers: each is the few lines of its formula. Trajectories equal PyTorch's, step for step.

Below, w is a parameter, g its gradient, t the number of the step (from 1). Parameters without a gradient (frozen ones)
are passed over: nothing moves them, weight decay included.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from minicnn.autograd import Tensor
from minicnn.backends.arrays import is_array, moved
from minicnn.errors import ArgumentError
from minicnn.ops import updates

Group = dict[str, Any]


def in_line(g: Any) -> Any:
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

    def __init__(self, params: Iterable[Any], defaults: Group) -> None:
        name = type(self).__name__
        items = [params] if isinstance(params, (Tensor, dict)) else list(params)
        if not items:
            raise ArgumentError("no parameters", called=name, hint="pass model.parameters(); is everything frozen?")
        groups: list[Any] = items if isinstance(items[0], dict) else [{"params": items}]
        if not all(isinstance(group, dict) and "params" in group for group in groups):
            raise ArgumentError("not a parameter group", called=name, rule='{"params": [...], ...} each')
        self.param_groups: list[Group] = []
        self.state: dict[Tensor, dict[str, Any]] = {}
        seen: set[int] = set()
        for group in groups:
            if unknown := sorted(set(group) - set(defaults) - {"params"}):
                raise ArgumentError(
                    f"unknown setting {unknown[0]!r}", called=name, rule=f"settings: {', '.join(sorted(defaults))}"
                )
            tensors = [group["params"]] if isinstance(group["params"], Tensor) else list(group["params"])
            for tensor in tensors:
                if not isinstance(tensor, Tensor):
                    raise ArgumentError("not a parameter", called=name, seen=type(tensor).__name__)
                if not tensor.is_leaf:
                    raise ArgumentError(
                        "not a leaf: an operation made this tensor",
                        called=name,
                        seen=str(tensor.node),
                        hint="detach() it",
                    )
                if id(tensor) in seen:
                    raise ArgumentError("a parameter comes twice", called=name, seen=f"shape {tensor.shape}")
                seen.add(id(tensor))
            self.param_groups.append({**defaults, **group, "params": tensors})
        for group in self.param_groups:
            self._check(group)

    def _check(self, group: Group) -> None:
        for key in ("lr", "weight_decay", "momentum", "eps"):
            if key in group and not (isinstance(group[key], numbers.Real) and group[key] >= 0):
                raise ArgumentError(
                    f"{key} is not valid", called=type(self).__name__, seen=f"{key}={group[key]!r}", rule=f"{key} >= 0"
                )

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
                        self.update(p.array, p.grad.array, self.state.setdefault(p, {}), group)
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
            (not values or self.MEMORY is None or set(values) == set(self.MEMORY))
            and all(
                not isinstance(value, np.ndarray) or value.shape == tensors[int(i)].shape for value in values.values()
            )
            for i, values in state["state"].items()
        )


class SGD(Optimizer):
    r"""(Stochastic) gradient descent, with momentum.

    .. math:: g \leftarrow g + \lambda w, \quad v \leftarrow \mu v + (1 - \tau) g, \quad w \leftarrow w - \eta v

    with :math:`\eta` lr, :math:`\mu` momentum, :math:`\tau` dampening, :math:`\lambda` weight_decay; v begins as the
    first g. With `nesterov`, :math:`w \leftarrow w - \eta (g + \mu v)`.
    """

    MEMORY = ("momentum_buffer",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
        }
        super().__init__(params, defaults)

    def _check(self, group: Group) -> None:
        super()._check(group)
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ArgumentError(
                "nesterov needs momentum, and no dampening", called="SGD", rule="momentum > 0, dampening = 0"
            )

    def update(self, w: np.ndarray, g: np.ndarray, state: dict[str, Any], group: Group) -> None:
        """One step."""
        g = in_line(g)
        if updates.fits(w, g, *state.values()):
            self._compiled(w, g, state, group)
            return
        momentum = group["momentum"]
        if group["weight_decay"]:
            g = g + group["weight_decay"] * w
        if momentum:
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = np.copy(g)  # an array also where g is a single number
            else:
                v = state["momentum_buffer"]
                v *= momentum
                v += (1 - group["dampening"]) * g
            g = g + momentum * state["momentum_buffer"] if group["nesterov"] else state["momentum_buffer"]
        w -= group["lr"] * g

    def _compiled(self, w: np.ndarray, g: np.ndarray, state: dict[str, Any], group: Group) -> None:
        """The same step, in one pass over memory."""
        lr, weight_decay, momentum = group["lr"], group["weight_decay"], group["momentum"]
        if not momentum:
            updates.sgd(w, g, lr, weight_decay)
            return
        keep, take = momentum, 1 - group["dampening"]
        if "momentum_buffer" not in state:
            state["momentum_buffer"], keep, take = updates.zeros_like(w), 0, 1  # v begins as the first g
        updates.sgd_momentum(w, g, state["momentum_buffer"], lr, weight_decay, keep, take, momentum, group["nesterov"])


class Adam(Optimizer):
    r"""Adam (Kingma and Ba 2015, algorithm 1).

    .. math::
        m \leftarrow \beta_1 m + (1 - \beta_1) g, \quad v \leftarrow \beta_2 v + (1 - \beta_2) g^2, \quad
        w \leftarrow w - \eta \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}

    with :math:`g \leftarrow g + \lambda w` first if weight_decay :math:`\lambda` is not zero.
    """

    MEMORY = ("step", "exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    def _check(self, group: Group) -> None:
        super()._check(group)
        betas = group["betas"]
        if not isinstance(betas, (tuple, list)) or len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise ArgumentError("betas are not valid", called="Adam", seen=str(betas), rule="two, 0 <= beta < 1")

    def update(self, w: np.ndarray, g: np.ndarray, state: dict[str, Any], group: Group) -> None:
        """One step."""
        beta1, beta2 = group["betas"]
        if not state:
            state.update(step=0, exp_avg=updates.zeros_like(w), exp_avg_sq=updates.zeros_like(w))
        state["step"] += 1
        m, v, g = state["exp_avg"], state["exp_avg_sq"], in_line(g)
        step_size = group["lr"] / (1 - beta1 ** state["step"])
        correction = float(np.sqrt(1 - beta2 ** state["step"]))
        if updates.fits(w, g, m, v):  # the same step, in one pass over memory
            updates.adam(w, g, m, v, step_size, correction, beta1, beta2, group["eps"], group["weight_decay"])
            return
        if group["weight_decay"]:
            g = g + group["weight_decay"] * w
        m += (1 - beta1) * (g - m)
        v *= beta2
        v += (1 - beta2) * g * g
        w -= step_size * m / (np.sqrt(v) / correction + group["eps"])
