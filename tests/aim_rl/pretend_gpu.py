"""A GPU where there is none: CPU tensors that say they are on `cuda:0` and refuse to meet those that do not.

PyTorch's FakeTensorMode cannot take its place: it has no values, and `item()`, `nonzero()` and `float()` need some.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

CUDA = torch.device("cuda", 0)
MOVES = {"to", "cpu", "cuda", "as_tensor"}
TAKES_BOTH = {"copy_", "__setitem__"}  # as CUDA does
NEEDS_CPU = {"numpy", "__array__", "set_rng_state"}


class OnGpu(Tensor):
    """A tensor that counts as one on the GPU; its numbers are on the CPU."""

    __torch_function__ = torch._C._disabled_torch_function_impl  # pyright: ignore


class PretendedGpu(TorchFunctionMode):
    """While it is active, devices `cuda` exist, and mixing them with the CPU raises what CUDA would raise."""

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = dict(kwargs or {}), getattr(func, "__name__", "")
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        on_gpu = any(isinstance(tensor, OnGpu) for tensor in tensors)
        if name == "__get__" and on_gpu and func.__self__ in (Tensor.device, Tensor.is_cuda):  # pyright: ignore
            return CUDA if func.__self__ is Tensor.device else True  # pyright: ignore
        if on_gpu and name in NEEDS_CPU:
            raise TypeError("can't convert cuda:0 device type tensor to numpy; use Tensor.cpu() first")
        if name == "_has_compatible_shallow_copy_type":  # a module's parameter becomes another object as it moves
            return len({type(tensor) is OnGpu for tensor in tensors}) == 1
        if name == "__deepcopy__" and on_gpu:
            return args[1].setdefault(id(args[0]), _copy(args[0]))
        if name in MOVES and tensors:
            return self._move(name, args, kwargs)
        if on_gpu and name not in TAKES_BOTH:
            # CUDA takes a number from the CPU, and indices into its own tensors.
            shaped = tensors[:1] if name == "__getitem__" else tensors
            together = name in ("stack", "cat")
            if any(not isinstance(t, OnGpu) and (t.ndim > 0 or together) for t in shaped):
                raise RuntimeError(f"{name}: expected all tensors to be on the same device, found cuda:0 and cpu")
        if kwargs.get("device") is not None:
            on_gpu = torch.device(kwargs["device"]).type == "cuda"
            kwargs["device"] = "cpu"
        result = func(*args, **kwargs)
        return _mark(result, tensors) if on_gpu else result

    def _move(self, name: str, args: Any, kwargs: Any) -> Tensor:
        tensor, rest = args[0], args[1:]
        target = {"cpu": torch.device("cpu"), "cuda": CUDA}.get(name)
        dtype = kwargs.get("dtype")
        for value in (*rest, kwargs.get("device"), kwargs.get("other")):
            if isinstance(value, Tensor):
                target, dtype = CUDA if isinstance(value, OnGpu) else torch.device("cpu"), value.dtype
            elif isinstance(value, torch.dtype):
                dtype = value
            elif isinstance(value, str | torch.device):
                target = torch.device(value)
        moved = tensor.to(dtype or tensor.dtype)
        is_there = isinstance(tensor, OnGpu)
        goes_there = is_there if target is None else target.type == "cuda"
        if moved.dtype == tensor.dtype and is_there == goes_there:
            return moved.clone() if kwargs.get("copy") else tensor
        if is_there and not goes_there:
            moved = moved.as_subclass(Tensor)
        moved = moved.clone() if is_there != goes_there else moved
        return moved.as_subclass(OnGpu) if goes_there else moved


def _copy(tensor: Tensor) -> Tensor:
    copied = tensor.detach().clone().as_subclass(OnGpu).requires_grad_(tensor.requires_grad)
    if getattr(tensor, "_is_param", False):
        copied._is_param = True  # pyright: ignore
    return copied


def _mark(result: Any, same: list[Tensor]) -> Any:
    """Tensors among the results are on the GPU, too; one of the arguments stays itself."""

    def mark(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor) or isinstance(leaf, OnGpu) or any(leaf is tensor for tensor in same):
            return leaf
        return leaf.as_subclass(OnGpu)

    return tree_map(mark, result)
