"""Keeps the public namespaces clean: ``dir``, completion and star imports offer the public names only."""

import sys
import types

__all__ = ["close_namespace"]


def close_namespace(name: str, *, modules: bool = False) -> None:
    """Limits what a module offers to the public names bound so far; the last line of every ``__init__``.

    Python binds every imported sub-module in its package, so that ``jaxcnn.ops.color`` would stand beside the ops.
    Those attributes stay where they are, but ``dir`` and ``from ... import *`` no longer list them. Set at run time,
    so that type checkers see neither a second list of names nor a module that has any attribute.

    Args:
        name: ``__name__`` of the module. A module that has an ``__all__`` keeps it.
        modules: Whether its modules are public too, as the namespaces of the package itself are.
    """
    module = sys.modules[name]
    bound = vars(module)
    if "__all__" not in bound:
        public = [key for key, value in bound.items() if modules or not isinstance(value, types.ModuleType)]
        bound["__all__"] = sorted(key for key in public if not key.startswith("_"))
    offered = sorted({*bound["__all__"], *(key for key in bound if key.startswith("__") and key.endswith("__"))})
    bound["__dir__"] = lambda: list(offered)
