"""Modules: layers and networks as trees of named parameters, buffers and children (PyTorch's interface)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

import numpy as np

from minicnn.autograd import Tensor
from minicnn.backends.arrays import moved
from minicnn.errors import ArgumentError, DTypeError, MinicnnError, ShapeError, WeightsError

Hook = Callable[["Module", tuple[Any, ...], Any], None]
PreHook = Callable[["Module", tuple[Any, ...]], None]


class Parameter(Tensor):
    """A tensor that a module learns; assigned to an attribute of a module, it becomes one of its parameters."""

    __slots__ = ()

    def __init__(self, array: Any, requires_grad: bool = True) -> None:
        super().__init__(array, requires_grad)


class Module:
    """Base of all layers and networks.

    Assign parameters and other modules to attributes in `__init__`, and write `forward`. Calling the module runs
    `forward`; an error inside gets the path of the layer in which it arose.

    Attributes
    ----------
    training : bool
        Training or evaluation mode; `train()` and `eval()` set it for the whole tree.
    frozen : bool
        A frozen module keeps its parameters *and* its running statistics: it stays in evaluation mode.
    """

    training: bool
    frozen: bool

    def __init__(self) -> None:
        for name in ("_parameters", "_buffers", "_modules"):
            object.__setattr__(self, name, {})
        object.__setattr__(self, "_hooks", [])
        object.__setattr__(self, "_pre_hooks", [])
        object.__setattr__(self, "training", True)
        object.__setattr__(self, "frozen", False)

    # ---- calling -----------------------------------------------------------------------------------------------------

    def forward(self, *inputs: Any) -> Any:
        """What the module computes; each module writes its own."""
        raise ArgumentError("this module has no forward", called=type(self).__name__)

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """Run `forward`, with the hooks before and after it."""
        for pre_hook in tuple(self._pre_hooks):
            pre_hook(self, inputs)
        try:
            output = self.forward(*inputs, **options)
        except MinicnnError as error:
            self._locate(error)
            raise
        for hook in tuple(self._hooks):  # a hook may remove itself
            hook(self, inputs, output)
        return output

    def _locate(self, error: MinicnnError) -> None:
        """Write the dotted path of the innermost module, as seen from here, into the error."""
        if error.module is None:
            error.module = self
        error.layer = next((name for name, module in self._walk() if module is error.module), error.layer)

    def register_forward_hook(self, hook: Hook) -> Callable[[], None]:
        """Call `hook(module, inputs, output)` after each forward; returns the function that removes it."""
        self._hooks.append(hook)
        return lambda: self._hooks.remove(hook)

    def register_forward_pre_hook(self, hook: PreHook) -> Callable[[], None]:
        """Call `hook(module, inputs)` before each forward; returns the function that removes it."""
        self._pre_hooks.append(hook)
        return lambda: self._pre_hooks.remove(hook)

    # ---- attributes --------------------------------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        if "_modules" not in self.__dict__:
            raise ArgumentError("call super().__init__() first", called=type(self).__name__)
        homes = {"_parameters": isinstance(value, Parameter), "_modules": isinstance(value, Module)}
        home = next((h for h, fits in homes.items() if fits), None)
        if home is None and name in self._buffers:
            home = "_buffers"
        self._check_kind(name, value, home)
        for other in ("_parameters", "_modules", "_buffers"):
            if other != home:
                self.__dict__[other].pop(name, None)
        if home is None:
            object.__setattr__(self, name, value)
        else:
            self.__dict__.pop(name, None)
            self.__dict__[home][name] = value

    def _check_kind(self, name: str, value: Any, home: str | None) -> None:
        """Raise where a value would silently push a parameter, buffer or module out of the state; None may."""
        if value is None or home in ("_parameters", "_modules") or (home == "_buffers" and isinstance(value, Tensor)):
            return
        kinds = {"_parameters": "nn.Parameter", "_modules": "nn.Module", "_buffers": "Tensor"}
        for other, kind in kinds.items():
            if name in self.__dict__[other]:
                raise ArgumentError(
                    f"{name} must stay a {kind}",
                    called=type(self).__name__,
                    seen=type(value).__name__,
                    rule=f"{kind} or None",
                    hint="assign nn.Parameter(array)" if other == "_parameters" else "",
                )

    def __getattr__(self, name: str) -> Any:  # only called when the usual look-up fails
        for home in ("_parameters", "_buffers", "_modules"):
            if name in self.__dict__.get(home, {}):
                return self.__dict__[home][name]
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __delattr__(self, name: str) -> None:
        for home in ("_parameters", "_buffers", "_modules"):
            if name in self.__dict__[home]:
                del self.__dict__[home][name]
                return
        object.__delattr__(self, name)

    def register_parameter(self, name: str, parameter: Parameter | None) -> None:
        """Add a parameter, or None for one that this configuration of the layer does not have."""
        self._parameters[name] = parameter

    def register_buffer(self, name: str, tensor: Tensor | None) -> None:
        """Add a tensor that belongs to the state but is not learned (running statistics)."""
        self._buffers[name] = tensor

    # ---- the tree ----------------------------------------------------------------------------------------------------

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Direct children, with their names."""
        yield from self._modules.items()

    def children(self) -> Iterator[Module]:
        """Direct children."""
        yield from self._modules.values()

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """This module and all below it, with dotted paths, in the order of definition; a shared one comes once."""
        seen: set[Module] = set()
        for path, module in self._walk():
            if module not in seen:
                seen.add(module)
                yield path, module

    def _walk(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """All paths below this module; one that is shared comes under each of its names."""
        yield prefix, self
        for name, child in self._modules.items():
            yield from child._walk(f"{prefix}.{name}" if prefix else name)

    def modules(self) -> Iterator[Module]:
        """This module and all below it."""
        for _, module in self.named_modules():
            yield module

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """All parameters below this module, with dotted names; one that is shared comes once."""
        yield from _once(self._named_tensors("_parameters"))

    def parameters(self) -> Iterator[Parameter]:
        """All parameters below this module."""
        for _, parameter in self.named_parameters():
            yield parameter

    def named_buffers(self) -> Iterator[tuple[str, Tensor]]:
        """All buffers below this module, with dotted names; one that is shared comes once."""
        yield from _once(self._named_tensors("_buffers"))

    def _named_tensors(self, *homes: str) -> Iterator[tuple[str, Any]]:
        for path, module in self._walk():
            for home in homes:
                for name, tensor in module.__dict__[home].items():
                    if tensor is not None:
                        yield f"{path}.{name}" if path else name, tensor

    def get_submodule(self, path: str) -> Module:
        """The module at a dotted path."""
        found = dict(self._walk())
        if path not in found:
            raise ArgumentError(
                f"no layer is called {path!r}", called=type(self).__name__, hint=f"there are {_few(list(found)[1:], 8)}"
            )
        return found[path]

    def apply(self, function: Callable[[Module], Any]) -> Self:
        """Call `function` on every module of the tree, children first."""
        for child in self.children():
            child.apply(function)
        function(self)
        return self

    # ---- modes -------------------------------------------------------------------------------------------------------

    def train(self, mode: bool = True) -> Self:
        """Training mode for the whole tree, except what is frozen."""
        for module in self.modules():
            object.__setattr__(module, "training", mode and not module.frozen)
        return self

    def eval(self) -> Self:
        """Evaluation mode: dropout passes, batch norm uses its running statistics."""
        return self.train(False)

    def freeze(self) -> Self:
        """Keep all parameters and running statistics of this tree as they are, byte for byte."""
        return self._set_frozen(True)

    def unfreeze(self) -> Self:
        """Let this tree learn again, in training mode."""
        return self._set_frozen(False)

    def _set_frozen(self, frozen: bool) -> Self:
        for module in self.modules():
            object.__setattr__(module, "frozen", frozen)
            object.__setattr__(module, "training", not frozen)
        return self.requires_grad_(not frozen)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Whether the parameters of this tree collect gradients."""
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
            if not requires_grad:
                parameter.grad = None
        return self

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters():
            parameter.grad = None

    def to(self, device: str) -> Self:
        """Move all floating point parameters (with their gradients) and buffers to `"cpu"` or `"cuda"`, in place.

        Counters stay on the CPU. Make the optimizer before or after, but move the model before its first step.
        """
        for _, tensor in self._named_tensors("_parameters", "_buffers"):
            if tensor.dtype.kind == "f":
                tensor.array = moved(tensor.array, device)
                if tensor.grad is not None:
                    tensor.grad = tensor.grad.to(device)
        return self

    def cuda(self) -> Self:
        """Move to the GPU."""
        return self.to("cuda")

    def cpu(self) -> Self:
        """Move to the CPU."""
        return self.to("cpu")

    def to_dtype(self, dtype: Any) -> Self:
        """Convert all floating point parameters and buffers."""
        for _, tensor in self._named_tensors("_parameters", "_buffers"):
            if tensor.dtype.kind == "f" and tensor.dtype != dtype:
                where = tensor.device
                tensor.array = moved(moved(tensor.array, "cpu").astype(dtype), where)
                tensor.grad = None
        return self

    def double(self) -> Self:
        """float64, for gradient checks."""
        return self.to_dtype(np.float64)

    def float(self) -> Self:
        """float32, the working type."""
        return self.to_dtype(np.float32)

    # ---- looking inside ----------------------------------------------------------------------------------------------

    def explain(self, images: Any, labels: Any = None, layer: str | None = None, **which: Any) -> Any:
        """Where one number of a run comes from: see `minicnn.explain`, which takes the network first."""
        import minicnn  # the door of the package, which finds who explains: a layer does not know

        return minicnn.explain(self, images, labels, layer, **which)

    def explore(self, images: Any, labels: Any = None, **how: Any) -> Any:
        """A run to walk through in a notebook: see `minicnn.explore`, which takes the network first."""
        import minicnn  # as in explain

        return minicnn.explore(self, images, labels, **how)

    # ---- state -------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all parameters and buffers by dotted name, in the order of definition; always NumPy arrays."""
        named = self._named_tensors("_parameters", "_buffers")
        return {name: np.array(moved(tensor.array, "cpu"), order="C") for name, tensor in named}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> tuple[list[str], list[str]]:
        """Copy a state in; nothing is copied unless everything fits.

        Parameters
        ----------
        state : mapping of name to array or Tensor
        strict : bool
            Missing and unexpected names are errors. (`num_batches_tracked` may always be missing: files made before it
            existed lack it.)

        Returns
        -------
        (missing, unexpected) : lists of names
        """
        own = dict(self._named_tensors("_parameters", "_buffers"))
        arrays = {
            name: np.asarray(moved(value.array, "cpu") if isinstance(value, Tensor) else value)
            for name, value in state.items()
        }
        missing = [name for name in own if name not in arrays]
        unexpected = [name for name in arrays if name not in own]
        called = f"{type(self).__name__}.load_state_dict"
        for name, tensor in own.items():
            if name in arrays and arrays[name].dtype.kind not in "fiub":
                raise DTypeError(f"{name} is not an array of numbers", called=called, seen=str(arrays[name].dtype))
            if name in arrays and arrays[name].shape != tensor.shape:
                raise ShapeError(
                    f"{name} has another shape", called=called, seen=str(arrays[name].shape), rule=str(tensor.shape)
                )
        required = [name for name in missing if not name.endswith("num_batches_tracked")]
        if strict and (required or unexpected):
            raise WeightsError(
                "the names do not match",
                called=called,
                seen=f"missing: {_few(required)}; unexpected: {_few(unexpected)}",
                hint="check the architecture, or use strict=False",
            )
        if own and len(missing) == len(own):
            raise WeightsError(
                "no name matches", called=called, seen=_few(unexpected), rule=f"names such as {_few(list(own))}"
            )
        for name, tensor in own.items():
            if name in arrays:
                if isinstance(tensor.array, np.ndarray):
                    tensor.array[...] = arrays[name]
                else:
                    tensor.array = moved(arrays[name].astype(tensor.dtype), "cuda")
        return missing, unexpected

    # ---- text --------------------------------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """The arguments of a layer, for `repr`."""
        return ""

    def __repr__(self) -> str:
        lines = [f"({name}): " + repr(child).replace("\n", "\n  ") for name, child in self.named_children()]
        if not lines:
            return f"{type(self).__name__}({self.extra_repr()})"
        return "\n  ".join([f"{type(self).__name__}({self.extra_repr()}", *lines]) + "\n)"


def _once(named: Iterator[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Leave out what came before under another name."""
    seen: set[int] = set()
    for name, tensor in named:
        if id(tensor) not in seen:
            seen.add(id(tensor))
            yield name, tensor


def _few(names: list[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) or "none") + more
