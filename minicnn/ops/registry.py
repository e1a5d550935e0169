"""Operations and their algorithms: list them, ask which fits, name one, add one's own.

An `Operation` has passes (`forward`, `grad_input`, ...) and algorithms: several versions of the same mathematics. An
algorithm is a module of the operation's folder whose functions carry the names of the passes; it is imported when it
first runs, so that `import minicnn` stays light. Its optional function `supports(problem)` returns `""`, or the rule
that the problem breaks.

The array decides where work runs: algorithms for NumPy arrays and for the GPU (`cuda`, `cuda_...`) stand side by side.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minicnn.backends.arrays import Array, device, is_array
from minicnn.errors import AlgorithmError

OPERATIONS: dict[str, Operation] = {}
_named: ContextVar[dict[str, str]] = ContextVar("named_algorithms", default={})  # noqa: B039 (never mutated)


@dataclass(frozen=True)
class Problem:
    """What an algorithm is asked to compute: shapes, dtype, device and options; no data."""

    operation: str
    pass_name: str
    shapes: tuple[tuple[int, ...] | None, ...]
    dtype: Any
    device: str
    options: dict[str, Any]


@dataclass
class Algorithm:
    """One version of an operation's mathematics.

    Attributes
    ----------
    name : str
        `"formula"`, `"loops"`, `"im2col"`, ... or the name a user gave.
    passes : dict
        Function of each pass that this algorithm has.
    supports : callable
        Takes a `Problem`, returns `""` or the rule that it breaks.
    own : bool
        True for algorithms that a user registered: their results are checked.
    device : str
        Where its arrays live: `"cpu"`, `"cuda"`, or `""` if `supports` says so itself.
    """

    name: str
    passes: dict[str, Callable[..., Any]]
    supports: Callable[[Problem], str]
    own: bool = False
    device: str = ""

    def broken_rule(self, problem: Problem) -> str:
        """`""` if this algorithm supports the problem, else the rule that the problem breaks."""
        if problem.pass_name not in self.passes:
            return f"it has no pass {problem.pass_name}"
        if self.device and self.device != problem.device:
            return f"arrays must live on the {'CPU' if self.device == 'cpu' else 'GPU'}"
        rule = self.supports(problem)
        if not isinstance(rule, str):
            raise AlgorithmError(
                f"supports of algorithm {self.name!r} does not answer with a text",
                called=problem.operation,
                seen=repr(rule),
                rule='"" for a problem that it supports, else the rule that the problem breaks',
            )
        return rule

    def check_own(self, called: str, result: Any, shapes: Sequence[tuple[int, ...]], dtype: Any) -> None:
        """Raise unless the result of a user's algorithm has the form that the operation goes on with."""
        results = result if isinstance(result, tuple) else (result,)
        fits = len(results) == len(shapes) and all(
            _is_result(y) and y.shape == shape and (y.dtype == dtype or (i > 0 and y.dtype.kind == "i"))
            for i, (y, shape) in enumerate(zip(results, shapes, strict=True))
        )
        if not fits:
            seen = [f"{y.shape} {y.dtype}" if _is_result(y) else type(y).__name__ for y in results]
            raise AlgorithmError(
                f"the result of your algorithm {self.name!r} has the wrong form",
                called=called,
                seen=", ".join(seen) or "()",
                rule=" and ".join(f"an array {shape}" for shape in shapes) + f", {dtype}",
            )


def _is_result(y: Any) -> bool:
    return is_array(y) or isinstance(y, np.generic)  # NumPy's answer where no axis is left


def _any_cpu_array(problem: Problem) -> str:
    return "" if problem.device == "cpu" else "arrays must live on the CPU"


@dataclass
class Operation:
    """An operation: its formula, its passes, its algorithms, and how the tape records and reverses it.

    Parameters
    ----------
    name : str
        `"conv2d"`.
    formula : str
        The forward formula in LaTeX, for explanations and pictures.
    inputs : sequence of str
        Names of the array arguments, in order.
    passes : sequence of str
        Names of the passes.
    algorithms : sequence of str
        Names of the modules in the operation's package, the preferred one first.
    cuda : sequence of str
        Names of the modules with algorithms for the GPU, the preferred one first.
    package : str
        Package that holds these modules (`__name__` of the operation's `__init__.py`).
    prefix : str
        For files that several small operations share: functions are called `prefix + pass name`.
    cost : callable, optional
        `cost(algorithm name, problem)`: estimated seconds on the CPU; the cheapest of the algorithms that fit runs,
        without it, and on the GPU, the first.
    record : callable
        `record(needs, *arrays, **options) -> (y, saved)`: forward, and a dict of the named arrays that backward needs.
        `needs[i]` says whether input i wants a gradient; nothing is saved that no wanted gradient uses.
    backward : callable
        `backward(needs, saved, dy) -> gradients`, one for each input, None where not needed.
    """

    name: str
    formula: str
    inputs: Sequence[str]
    record: Callable[..., tuple[Array, dict[str, Any]]]
    backward: Callable[..., tuple[Array | None, ...]]
    passes: Sequence[str] = ()
    algorithms: Sequence[str] = ()
    cuda: Sequence[str] = ()
    package: str = ""
    prefix: str = ""
    cost: Callable[[str, Problem], float] | None = None
    _choices: dict[Any, str] = field(default_factory=dict, repr=False)
    _loaded: dict[str, Algorithm] = field(default_factory=dict, repr=False)
    _own: list[str] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        OPERATIONS[self.name] = self

    def names(self) -> list[str]:
        """Names of all algorithms: the preferred one first, users' own last."""
        return [*self.algorithms, *self.cuda, *self._own]

    def algorithm(self, name: str) -> Algorithm:
        """The algorithm of that name, imported if need be."""
        if name not in self._loaded:
            if name not in self.algorithms and name not in self.cuda:
                raise AlgorithmError(
                    f"no algorithm is named {name!r}",
                    called=self.name,
                    hint=f"there are {', '.join(self.names()) or 'none'}",
                )
            self._loaded[name] = self._load(name)
        return self._loaded[name]

    def _load(self, name: str) -> Algorithm:
        module = importlib.import_module(f"{self.package}.{name}")
        passes = {p: getattr(module, self.prefix + p) for p in self.passes if hasattr(module, self.prefix + p)}
        supports = getattr(module, self.prefix + "supports", lambda _: "")
        return Algorithm(name, passes, supports, device="cuda" if name in self.cuda else "cpu")

    def problem(self, pass_name: str, arrays: Sequence[Array | None], options: dict[str, Any]) -> Problem:
        """Describe a call by shapes, dtype and device."""
        first = next(a for a in arrays if a is not None)
        shapes = tuple(None if a is None else a.shape for a in arrays)
        return Problem(self.name, pass_name, shapes, first.dtype, device(first), options)

    def supporting(self, problem: Problem) -> dict[str, str]:
        """For each algorithm `""` if it supports the problem, else the rule that the problem breaks."""
        return {name: self.algorithm(name).broken_rule(problem) for name in self.names()}

    def pick(self, problem: Problem) -> Algorithm:
        """The algorithm that runs: the one named in a `with` block if it has this pass, else what `choose` says."""
        named = _named.get().get(self.name)
        if named is not None:
            algorithm = self.algorithm(named)
            if problem.pass_name in algorithm.passes:
                rule = algorithm.broken_rule(problem)
                if rule:
                    fits = [n for n, broken in self.supporting(problem).items() if not broken]
                    raise AlgorithmError(
                        f"algorithm {named!r} does not support this problem",
                        called=f"{self.name}.{problem.pass_name}",
                        seen=f"shapes {problem.shapes}, {problem.dtype}, {problem.device}, {problem.options}",
                        rule=rule,
                        hint=f"{', '.join(fits) or 'no algorithm'} would do",
                    )
                return algorithm
        if self.cost is None:
            return self.algorithm(self.choose(problem))
        key = (problem.pass_name, problem.shapes, problem.dtype, problem.device, *problem.options.items())
        chosen = self._choices.get(key)
        if chosen is None:
            chosen = self._choices[key] = self.choose(problem)
        return self.algorithm(chosen)

    def choose(self, problem: Problem) -> str:
        """Name of the built-in algorithm that fits the problem and costs least."""
        names = self.cuda if problem.device == "cuda" else self.algorithms
        fits = (name for name in names if not self.algorithm(name).broken_rule(problem))
        if self.cost is None or problem.device == "cuda":
            chosen = next(fits, None)
        else:
            chosen = min(((self.cost(name, problem), name) for name in fits), default=(0.0, None))[1]
        if chosen is not None:
            return chosen
        raise AlgorithmError(
            "no algorithm supports this problem",
            called=f"{self.name}.{problem.pass_name}",
            seen=f"shapes {problem.shapes}, {problem.dtype}, {problem.device}",
            rule="; ".join(f"{name}: {self.algorithm(name).broken_rule(problem)}" for name in (*names, *self._own))
            or f"it has none for the {'GPU' if problem.device == 'cuda' else 'CPU'}",
        )

    def run(self, pass_name: str, arrays: Sequence[Array | None], options: dict[str, Any], *shapes: tuple) -> Any:
        """Run one pass with the algorithm that `pick` chooses.

        `shapes` are those of the results, in order; the results of users' own algorithms are held to them.
        """
        problem = self.problem(pass_name, arrays, options)
        algorithm = self.pick(problem)
        result = algorithm.passes[pass_name](*arrays, **options)
        if algorithm.own:
            algorithm.check_own(f"{self.name}.{pass_name}", result, shapes, problem.dtype)
        return result


def operation(name: str) -> Operation:
    """The operation of that name."""
    if name not in OPERATIONS:
        raise AlgorithmError(f"no operation is named {name!r}", hint=f"there are {', '.join(sorted(OPERATIONS))}")
    return OPERATIONS[name]


def algorithms(name: str | None = None) -> dict[str, list[str]] | list[str]:
    """Names of the algorithms of one operation, or of all operations."""
    if name is not None:
        return operation(name).names()
    return {key: op.names() for key, op in sorted(OPERATIONS.items())}


def named_algorithms() -> tuple[tuple[str, str], ...]:
    """(operation, algorithm) of all that `algorithm` blocks around the caller name."""
    return tuple(sorted(_named.get().items()))


@contextmanager
def algorithm(**names: str) -> Iterator[None]:
    """Name the algorithm of one or more operations for the calls in this block (backward passes included).

    Where the named algorithm lacks a pass (a user's own that has only `forward`, say), that pass runs as without
    naming.

    Examples
    --------
    >>> import minicnn
    >>> with minicnn.algorithm(conv2d="im2col"):
    ...     pass
    """
    for key, name in names.items():
        operation(key).algorithm(name)
    token = _named.set({**_named.get(), **names})
    try:
        yield
    finally:
        _named.reset(token)


def register_algorithm(
    name: str,
    algorithm_name: str,
    *,
    supports: Callable[[Problem], str] = _any_cpu_array,
    **passes: Callable[..., Any],
) -> None:
    """Add an algorithm of one's own; name it in `minicnn.algorithm(...)` to use it, also in training.

    Parameters
    ----------
    name : str
        The operation, `"conv2d"`.
    algorithm_name : str
        A new name, `"mine"`. An own algorithm of that name is replaced; a built-in one is not.
    supports : callable
        Takes a `Problem`, returns `""` or the rule it breaks.
    **passes : callable
        `forward=...`, `grad_weight=...`: functions with the arguments of the operation's own passes.

    Examples
    --------
    >>> import minicnn
    >>> from minicnn.ops.conv2d import formula
    >>> minicnn.register_algorithm("conv2d", "mine", forward=formula.forward)
    >>> with minicnn.algorithm(conv2d="mine"):
    ...     pass
    >>> minicnn.unregister_algorithm("conv2d", "mine")
    """
    op = operation(name)
    unknown = sorted(set(passes) - set(op.passes))
    if unknown or not passes:
        raise AlgorithmError(
            "an algorithm needs functions named as the operation's passes",
            called=f"register_algorithm({name!r}, {algorithm_name!r})",
            seen=", ".join(sorted(passes)) or "no pass",
            rule=f"passes of {name}: {', '.join(op.passes)}",
        )
    for pass_name, function in passes.items():
        if not callable(function):
            raise AlgorithmError(
                f"{pass_name} is not a function", called=f"register_algorithm({name!r}, {algorithm_name!r})"
            )
    if algorithm_name in (*op.algorithms, *op.cuda):
        raise AlgorithmError(f"{algorithm_name!r} is built in", called=name, hint="choose another name")
    op._loaded[algorithm_name] = Algorithm(algorithm_name, dict(passes), supports, own=True)
    if algorithm_name not in op._own:
        op._own.append(algorithm_name)


def unregister_algorithm(name: str, algorithm_name: str) -> None:
    """Remove an algorithm that `register_algorithm` added."""
    op = operation(name)
    if algorithm_name not in op._own:
        raise AlgorithmError(f"{algorithm_name!r} is not an algorithm of your own", called=name)
    op._own.remove(algorithm_name)
    del op._loaded[algorithm_name]
