"""Many networks as one program: seeds of a CNN behind a spatial transformer, trained at once and one by one.

Command: ``python -m benchmarks.experiments.ensembles``, with ``--quick`` to see that it runs. Times one training step
of all members in five forms, in turns, in one process with eight CPU devices (or the accelerators there are):

- one program: the step under ``vmap``, on one device and spread over all;
- one by one: the step of a single network, compiled once, called for one member after the other;
- stock: the step under ``vmap`` with XLA's own convolution, which becomes a grouped one; on one device and on all.

Two networks on distorted digits: the small one of ``jaxcnn train`` with its optimiser (20,240 parameters, 64 images per
member and step), and ``st_cnn`` with the kernels of Jaderberg et al. 2015 (9x9 and 7x7; 239,112 parameters, 16 images,
SGD). All forms start from the same states and batches, and their parameters after the step are compared; so are those
after more steps of the first and the third form. Writes ``results/ensembles-<device>.json``, a table and
``docs/images/ensembles.png``. Takes some ten minutes on two CPU cores, most of them for the stock convolution.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from benchmarks import _harness
from jaxcnn import layers, models, recipes, train
from jaxcnn.report import png
from jaxcnn.report.style import FAINT, PALETTE, figure

DOCS = Path(__file__).parents[2] / "docs" / "images"
ONE, SPREAD, SINGLE = "one program", "one program, all devices", "one by one"
STOCK, STOCK_SPREAD = "stock convolution", "stock convolution, all devices"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(_harness.Options):
    """Options of the experiment."""

    rounds: int = 5
    """How often every form has its turn."""
    warmup: int = 1
    """Calls before the first round."""
    members: int = 32
    """Networks."""
    devices: int = 8
    """CPU devices; all of them share the cores."""
    further: int = 5
    """Steps after which the parameters of the first and the third form are compared once more."""
    images: Path = DOCS
    """Folder of the plot."""


@dataclasses.dataclass(frozen=True)
class Task:
    """States and batches of all members, and the step of one."""

    name: str
    step: Callable[[Any, Any], tuple[Any, Any]]
    states: Any
    batches: Any
    members: int


def tasks(options: Options) -> list[Task]:
    """Draws the networks and their batches."""
    config = recipes.rts_digits.Config()
    small, adam = recipes.rts_digits.build(config, "st_cnn"), recipes.rts_digits.optimizer(config)
    large, sgd = models.create("st_cnn", num_classes=10), optax.sgd(0.01)
    draw = recipes.rts_digits.generator(config)
    keys = jax.random.split(jax.random.key(0), options.members)
    found = []
    for name, model, tx, batch in (("20,240 parameters", small, adam, 64), ("239,112 parameters", large, sgd, 16)):
        batch = 2 if options.quick else batch
        batches = jax.jit(jax.vmap(lambda key, n=batch: draw(key, n)))(keys)
        example = jax.tree.map(lambda leaf: leaf[0], batches)
        start = functools.partial(train.create_state, model=model, tx=tx, batch=example)
        states = jax.jit(jax.vmap(lambda key, start=start: start(key)))(keys)
        found.append(Task(name, train.make_train_step(model, tx), states, batches, options.members))
    return found[:1] if options.quick else found


def stock_convolution(step: Callable[..., Any]) -> Callable[..., Any]:
    """Traces a step with XLA's convolution in place of ours."""

    def swap(call: Callable[..., Any], arguments: Any, keywords: Any, context: Any) -> Any:
        if isinstance(context.module, layers.Conv):
            object.__setattr__(context.module, "conv_general_dilated", jax.lax.conv_general_dilated)
        return call(*arguments, **keywords)

    def traced(*arguments: Any) -> Any:
        with nn.intercept_methods(swap):
            return step(*arguments)

    return traced


def at_once(task: Task, step: Callable[..., Any], devices: int) -> _harness.Run:
    """Compiles a step of all members."""
    arrays, every = (task.states, task.batches), jax.vmap(step)
    if devices > 1:
        mesh = jax.make_mesh((devices,), ("members",), axis_types=(AxisType.Auto,), devices=jax.devices()[:devices])
        arrays = jax.device_put(arrays, NamedSharding(mesh, P("members")))
        every = jax.shard_map(every, mesh=mesh, in_specs=P("members"), out_specs=P("members"), check_vma=False)
    compiled = jax.jit(every).lower(*arrays).compile()

    def run() -> Any:
        return jax.block_until_ready(compiled(*arrays))[0].params

    return _harness.CompiledRun(run, devices * temporary(compiled))


def temporary(compiled: jax.stages.Compiled) -> int:
    """Returns the bytes that a program allocates besides its arguments and results."""
    memory = compiled.memory_analysis()
    return 0 if memory is None else memory.temp_size_in_bytes


def one_by_one(task: Task) -> _harness.Run:
    """Compiles a step of one member."""
    members = [jax.tree.map(lambda leaf, i=i: leaf[i], (task.states, task.batches)) for i in range(task.members)]
    compiled = jax.jit(task.step).lower(*members[0]).compile()

    def run() -> Any:
        return jax.block_until_ready([compiled(*member)[0].params for member in members])

    return _harness.CompiledRun(run, temporary(compiled))


def stacked(members: Any) -> list[np.ndarray]:
    """Brings the parameters of single members to the form of those at once."""
    return [np.stack(leaves) for leaves in zip(*map(jax.tree.leaves, members), strict=True)]


def case(task: Task, devices: int) -> _harness.Case:
    """Lists the forms."""
    stock = stock_convolution(task.step)
    contenders = [
        _harness.Contender(ONE, functools.partial(at_once, task, task.step, 1), jax.tree.leaves),
        _harness.Contender(SPREAD, functools.partial(at_once, task, task.step, devices), jax.tree.leaves),
        _harness.Contender(SINGLE, functools.partial(one_by_one, task), stacked),
        _harness.Contender(STOCK, functools.partial(at_once, task, stock, 1), jax.tree.leaves),
        _harness.Contender(STOCK_SPREAD, functools.partial(at_once, task, stock, devices), jax.tree.leaves),
    ]
    if devices == 1:
        contenders = [contender for contender in contenders if contender.name not in (SPREAD, STOCK_SPREAD)]
    return _harness.Case(f"{task.members} members of {task.name}", {"devices": devices}, contenders, 1e-3)


def drift(task: Task, steps: int) -> float:
    """Trains on the same batches for more steps at once and one by one; gives the largest difference of a member.

    The difference is the norm of that of all its parameters over their norm.
    """
    together, step = task.states, jax.jit(jax.vmap(task.step))
    for _ in range(steps):
        together, _ = step(together, task.batches)
    single, worst = jax.jit(task.step), 0.0
    for i in range(task.members):
        state, batch = jax.tree.map(lambda leaf, i=i: leaf[i], (task.states, task.batches))
        for _ in range(steps):
            state, _ = single(state, batch)
        mine = jnp.concatenate([leaf[i].ravel() for leaf in jax.tree.leaves(together.params)])
        alone = jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(state.params)])
        worst = max(worst, float(jnp.linalg.norm(mine - alone) / jnp.linalg.norm(alone)))
    return worst


def summary(entry: Mapping[str, Any], steps: int, difference: float) -> dict[str, Any]:
    """Gives how many times as long as one program (the faster of both) the others take, memory, and equality."""
    found = entry["contenders"]
    ratios = {name: values["ratio"]["median"] for name, values in found.items()}
    ours = min(ratios[name] for name in (ONE, SPREAD) if name in ratios)
    others = {name: ratios[name] for name in (SINGLE, STOCK, STOCK_SPREAD) if name in ratios}
    equal = f"largest difference of a member's parameters, one by one, after {steps} steps (norm over norm)"
    return {
        "time over that of one program, the faster of both": {
            name: float(f"{ratio / ours:.3g}") for name, ratio in others.items()
        },
        "temporary memory, MB": {name: round(values["temporary_bytes"] / 1e6, 1) for name, values in found.items()},
        equal: float(f"{difference:.2g}"),
    }


def plot(entries: Sequence[Mapping[str, Any]]) -> Any:
    """Draws the time of a step and of compilation, one row per network and one line per form."""
    names = list(entries[0]["contenders"])
    canvas, grid = figure(len(entries), 2, width=9.0, height=len(entries) * (0.7 + 0.3 * len(names)), sharey=True)
    for row, entry in zip(grid, entries, strict=True):
        found = entry["contenders"]
        quantities = {
            f"a step of {entry['name']}, ms": [found[name]["milliseconds"]["median"] for name in names],
            "tracing, compilation and first step, s": [found[name]["build_seconds"] for name in names],
        }
        for axis, (title, values) in zip(row, quantities.items(), strict=True):
            for i, (name, value) in enumerate(zip(names, values, strict=True)):
                color = PALETTE[2 if name in (STOCK, STOCK_SPREAD) else int(name == SINGLE)]
                axis.plot([value], [i], "o", color=color, markersize=7)
                text = f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"
                axis.annotate(text, (value, i), va="center", fontsize=8, xytext=(8, 0), textcoords="offset points")
            axis.set_xscale("log")
            axis.set_xlim(10 ** np.floor(np.log10(min(values))), 10 ** np.ceil(np.log10(max(values)) + 0.2))
            axis.set_xlabel(title, fontsize=9)
            axis.set_yticks(range(len(names)), names)
            axis.set_ylim(len(names) - 0.4, -0.6)
            axis.grid(axis="x", color=FAINT, linewidth=0.6)
    return canvas


def run(options: Options) -> dict[str, Any]:
    """Times, compares, and writes."""
    from rich.console import Console

    console = Console(width=120)
    if options.quick:
        options = dataclasses.replace(options, members=2, further=2, devices=2)
    number = min(len(jax.devices()), options.members)
    devices = max(n for n in range(1, number + 1) if options.members % n == 0)
    entries, found = [], {}
    for task in tasks(options):
        entries.append(_harness.measure(case(task, devices), options))
        console.print(_harness.rich_table(entries[-1]))
        found[task.name] = summary(entries[-1], options.further, drift(task, options.further))
        console.print(found[task.name])
    results = _harness.document("ensembles", entries, options) | {"summary": found}
    _harness.check(results)
    path = _harness.write(results, options)
    options.images.mkdir(parents=True, exist_ok=True)
    (options.images / "ensembles.png").write_bytes(png(plot(entries)))
    console.print(f"wrote {path.name}, {path.with_suffix('.md').name} and ensembles.png")
    return results


if __name__ == "__main__":
    settings = tyro.cli(Options, description=__doc__)
    _harness.limit_threads(settings.threads)
    jax.config.update("jax_num_cpu_devices", settings.devices)
    run(settings)
