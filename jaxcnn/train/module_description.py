"""A Linen module as plain JSON, and back: what ``run.json`` says of the model.

A module that ``models.create`` builds is ``{"name": ..., "options": {...}}``; any other one is ``{"class":
"package.file:Class", "fields": {...}}`` with the fields that differ from their defaults. Fields hold modules, numbers,
text, sequences, ``{"dict": {...}}``, ``{"dtype": ...}``, ``{"function": ...}``, ``{"partial": ...}``,
``{"initializer": ...}`` (of ``jax.nn.initializers``), ``{"type": ...}`` (a module's class), ``{"precision": ...}``,
``{"graph": ...}`` (a network as data); what is none of these is ``{"undescribed": ...}``, which is an error only when
the module is built again.

A run folder may come from anyone. Building imports nothing but the modules of Flax and of this package; the classes of
others are found only where their module is imported already, and must be Linen modules. Functions are found by name in
a few namespaces of pure functions and nowhere else.
"""

import dataclasses
import functools
import importlib
import inspect
import json
import math
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn import models
from jaxcnn.graphs import Graph
from jaxcnn.models._options import find_options

__all__ = ["build_module", "describe_module"]

Description = dict[str, Any]

FUNCTIONS = ("jax.nn", "jax.nn.initializers", "flax.linen", "jax.lax", "jax.numpy", "jaxcnn.ops")
"""Where functions are looked up; all of them are pure."""

IMPURE = ("load", "save", "savez", "fromfile")
"""Functions of ``jax.numpy`` that read or write files."""

CLASSES = ("flax.linen", "jaxcnn.layers")
"""Namespaces by which classes are called, wherever they are defined."""

IMPORTED = ("jaxcnn.models", "jaxcnn.layers", "jaxcnn.graphs", "flax.linen")
"""Packages that a run folder may have imported."""


def describe_module(module: nn.Module) -> Description:
    """Describes a module; whatever it holds, this succeeds.

    Args:
        module: The module, not bound to variables.

    Returns:
        JSON values.
    """
    found = find_options(module)
    if found is not None:
        name, options = found
        return {"name": name, "options": {option: _describe(value) for option, value in options.items()}}
    given = {
        field.name: getattr(module, field.name)
        for field in dataclasses.fields(module)
        if field.init and field.name not in ("parent", "name") and not _is_default(field, getattr(module, field.name))
    }
    if module.name is not None:
        given["name"] = module.name
    return {"class": _address(type(module)), "fields": {name: _describe(value) for name, value in given.items()}}


def build_module(description: object) -> nn.Module:
    """Builds the module that was described.

    Args:
        description: What ``describe_module`` returned, by way of JSON.

    Returns:
        The module.

    Raises:
        ValueError: If it cannot be built; the reason, without a name in front.
    """
    try:
        module = _build(description)
    except RecursionError:
        raise ValueError("the description is nested too deeply") from None
    if not isinstance(module, nn.Module):
        raise ValueError("the description is of no Linen module")
    return module


def _is_default(field: "dataclasses.Field[Any]", value: object) -> bool:
    if field.default is not dataclasses.MISSING:
        return value is field.default or (type(value) is type(field.default) and _equal(value, field.default))
    return field.default_factory is not dataclasses.MISSING and _equal(value, field.default_factory())


def _equal(a: object, b: object) -> bool:
    try:
        return bool(a == b)
    except Exception:  # arrays and the like, whose comparison is no truth value
        return False


def _address(thing: Any) -> str:
    """Returns ``"module:name"`` of a class, the public module where there is one."""
    for namespace in CLASSES:
        if vars(sys.modules.get(namespace, types)).get(thing.__name__) is thing:
            return f"{namespace}:{thing.__name__}"
    return f"{thing.__module__}:{thing.__qualname__}"


def _describe(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if value is None or (isinstance(value, bool | int | float | str) and not isinstance(value, jax.lax.Precision)):
        return value
    if isinstance(value, tuple | list):
        return [_describe(item) for item in value]
    if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        return {"dict": {name: _describe(item) for name, item in value.items()}}
    if isinstance(value, nn.Module):
        return describe_module(value)
    if isinstance(value, jax.lax.Precision):
        return {"precision": value.name}
    if isinstance(value, Graph):
        return {"graph": json.loads(value.to_json())}
    if isinstance(value, type) and issubclass(value, nn.Module):
        return {"type": _address(value)}
    if (dtype := _dtype_name(value)) is not None:
        return {"dtype": dtype}
    if isinstance(value, functools.partial):
        parts = _describe(value.func), [_describe(v) for v in value.args], _describe(value.keywords)["dict"]
        return dict(zip(("partial", "arguments", "keywords"), parts, strict=True))
    return _describe_function(value) or {"undescribed": f"{type(value).__name__} {getattr(value, '__qualname__', '')}"}


def _dtype_name(value: Any) -> str | None:
    """Returns the name of a dtype, also of the scalar types of NumPy and JAX; None for anything else."""
    scalar = isinstance(value, type) and issubclass(value, np.generic)
    if isinstance(value, np.dtype) or scalar or value is getattr(jnp, getattr(value, "__name__", ""), None):
        try:
            return np.dtype(value).name
        except TypeError:  # a function of jax.numpy
            return None
    return None


def _describe_function(value: Any) -> Description | None:
    """Describes a function of a public namespace, or an initializer that one of ``jax.nn.initializers`` returned."""
    name = getattr(value, "__name__", "")
    for namespace in FUNCTIONS:
        if not isinstance(value, type) and _public_function(f"{namespace}:{name}") is value:
            return {"function": f"{namespace}:{name}"}
    qualname = getattr(value, "__qualname__", "")
    factory, _, rest = qualname.partition(".")
    make = _public_function(f"jax.nn.initializers:{factory}")
    if rest == "<locals>.init" and isinstance(value, types.FunctionType) and isinstance(make, types.FunctionType):
        kept = inspect.getclosurevars(value).nonlocals
        parameters = inspect.signature(make).parameters
        needed = {n for n, p in parameters.items() if p.default is inspect.Parameter.empty}
        if needed <= kept.keys() and value.__code__ in make.__code__.co_consts:
            arguments = {name: _describe(kept[name]) for name in parameters if name in kept}
            return {"initializer": factory, "arguments": arguments}
    return None


def _public_function(address: str) -> Callable[..., Any] | None:
    """Finds a function in one of the namespaces of pure functions."""
    namespace, _, name = address.partition(":")
    if namespace not in FUNCTIONS or name.startswith("_") or (namespace == "jax.numpy" and name in IMPURE):
        return None
    found = vars(sys.modules.get(namespace, types)).get(name)
    return found if callable(found) and not isinstance(found, type) else None


def _build(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_build(item) for item in value)
    if not isinstance(value, dict):
        return value
    if "undescribed" in value:
        raise ValueError(f"it holds a {str(value['undescribed']).strip()}, which a run folder cannot keep")
    for kind, build in _BUILDERS.items():
        if kind in value:
            return build(value)
    raise ValueError(f"a field is described by {sorted(value)}, which this version does not know")


def _build_dict(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"fields and options must be described by name, got {value!r}")
    return {str(name): _build(item) for name, item in value.items()}


def _build_named(value: Description) -> nn.Module:
    try:
        return models.create(str(value["name"]), **_build_dict(value.get("options")))
    except TypeError as error:
        raise ValueError(f"model {value['name']!r} does not take the options of the run ({error})") from None


def _build_class(value: Description) -> nn.Module:
    kind, fields = _find_class(value["class"]), _build_dict(value.get("fields"))
    known = {field.name for field in dataclasses.fields(kind) if field.init}
    unknown = sorted(set(fields) - known)
    if unknown:
        raise ValueError(f"class {value['class']} has no field {unknown[0]!r}")
    try:
        return kind(**fields)
    except TypeError as error:
        raise ValueError(f"class {value['class']} does not take the fields of the run ({error})") from None


def _find_class(address: object) -> type[nn.Module]:
    """Finds a class of Linen modules by its address, importing no module but those of ``IMPORTED``."""
    place, _, qualname = str(address).partition(":")
    module: Any = sys.modules.get(place)
    if module is None and any(f"{place}.".startswith(f"{package}.") for package in IMPORTED):
        try:
            module = importlib.import_module(place)
        except ImportError:
            raise ValueError(f"there is no module {place}, of class {address}, in this version") from None
    if module is None:
        raise ValueError(f"the module of class {address} is not imported")
    found: Any = module
    for part in qualname.split("."):
        found = vars(found).get(part) if isinstance(found, types.ModuleType | type) else None
    if not (isinstance(found, type) and issubclass(found, nn.Module) and dataclasses.is_dataclass(found)):
        raise ValueError(f"{address} is not the address of a class of Linen modules")
    return found


def _build_function(value: Description) -> Callable[..., Any]:
    found = _public_function(str(value["function"]))
    if found is None:
        raise ValueError(f"{value['function']} is no function of {', '.join(FUNCTIONS)}")
    return found


def _build_partial(value: Description) -> Callable[..., Any]:
    function, arguments = _build(value["partial"]), _build(value.get("arguments"))
    if not callable(function) or not isinstance(arguments, tuple):
        raise ValueError("a partial function is described by something else")
    return functools.partial(function, *arguments, **_build_dict(value.get("keywords")))


def _build_initializer(value: Description) -> Callable[..., Any]:
    make = _public_function(f"jax.nn.initializers:{value['initializer']}")
    if make is None:
        raise ValueError(f"jax.nn.initializers has no {value['initializer']}")
    try:
        return make(**_build_dict(value.get("arguments")))
    except TypeError as error:
        raise ValueError(f"jax.nn.initializers.{value['initializer']} does not take its arguments ({error})") from None


def _build_dtype(value: Description) -> Any:
    name = str(value["dtype"])
    try:
        return getattr(jnp, jnp.dtype(name).name)
    except (TypeError, AttributeError):
        raise ValueError(f"{name!r} is no dtype") from None


def _build_precision(value: Description) -> jax.lax.Precision:
    found = jax.lax.Precision.__members__.get(str(value["precision"]))
    if found is None:
        raise ValueError(f"{value['precision']!r} is no precision of jax.lax")
    return found


def _build_graph(value: Description) -> Graph:
    try:
        return Graph.from_json(json.dumps(value["graph"]))
    except ValueError as error:
        raise ValueError(f"its graph is damaged ({error})") from None


_BUILDERS: dict[str, Callable[[Description], Any]] = {
    "name": _build_named,
    "class": _build_class,
    "type": lambda value: _find_class(value["type"]),
    "dict": lambda value: _build_dict(value["dict"]),
    "function": _build_function,
    "partial": _build_partial,
    "initializer": _build_initializer,
    "dtype": _build_dtype,
    "precision": _build_precision,
    "graph": _build_graph,
    "float": lambda value: float(value["float"]) if str(value["float"]) in ("inf", "-inf", "nan") else math.nan,
}
