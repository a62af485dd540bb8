"""Full, separable and shared-separable convolutions at equal budgets: parameters, arithmetic, time, accuracy.

Command: ``python -m benchmarks.experiments.separable``, with ``--quick`` to see that it runs. Prints how many
parameters 64 filters 3x3 over 32 maps have in each form, then trains one small network per form, number of
filters M and seed, and writes ``results/separable-<device>.json``, a table and ``docs/images/separable.png``.

The forms of the block, from 32 maps to 64:

- full: a 3x3 convolution;
- own filters (Keras's ``SeparableConv2D``): M filters 3x3 for every map, then 1x1; M = 1 is the plain separable one;
- shared filters: M filters 3x3 that all maps share, with biases, then 1x1.

Around it: a 3x3 convolution of stride 2 to 32 maps before, max pooling to 2 x 2 and a dense layer behind. The data
are the built-in digits, turned by up to 90 degrees either way and drawn anew for every batch. This setting was
chosen of four (turned or seen in perspective, max or average pooling; 3 seeds, 300 steps, M up to 2) because
there the networks learn most and the forms differ. All share one schedule (Adam, 5e-3, cosine) that was
not tuned per form, and seed i sees the same images in every form.
"""

import dataclasses
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro

from benchmarks import _harness
from jaxcnn import data, layers, ops, train
from jaxcnn.report import png
from jaxcnn.report.style import FAINT, PALETTE, figure

DOCS = Path(__file__).parents[2] / "docs" / "images"

Form = Literal["full", "own", "shared"]
MAPS, FEATURES = 32, 64
FULL = FEATURES * (9 * MAPS + 1)
BATCH, LEARNING_RATE = 32, 5e-3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(_harness.Options):
    """Options of the experiment."""

    filters: int = 9
    """Largest M."""
    seeds: int = 5
    """Networks per form and M."""
    steps: int = 500
    """Training steps of each network."""
    images: Path = DOCS
    """Folder of the plot."""


@dataclasses.dataclass(frozen=True)
class Arm:
    """One form with its number of filters; the full convolution has none."""

    form: Form
    m: int = 0

    @property
    def name(self) -> str:
        """Names it as in ``shared M=3``."""
        return f"{self.form} M={self.m}" if self.m else self.form

    @property
    def parameters(self) -> int:
        """Counts the block's parameters."""
        if self.form == "full":
            return FULL
        if self.form == "shared":
            return self.m * (9 + 1) + FEATURES * (MAPS * self.m + 1)
        return 9 * MAPS * self.m + FEATURES * (MAPS * self.m + 1)

    @property
    def multiplications(self) -> int:
        """Counts the block's multiplications (each with an addition) per pixel of its output."""
        return 9 * MAPS * FEATURES if self.form == "full" else 9 * MAPS * self.m + MAPS * self.m * FEATURES


class Net(nn.Module):
    """The network around the block under test."""

    arm: Arm

    @nn.compact
    def __call__(self, x: Any, *, train: bool = False) -> Any:
        """Gives logits of images (b, 20, 20, 1)."""
        x = nn.relu(nn.Conv(MAPS, (3, 3), strides=2, name="stem")(x))
        if self.arm.form == "full":
            block = nn.Conv(FEATURES, (3, 3), name="block")
        else:
            shared = self.arm.form == "shared"
            options: dict[str, Any] = {"depth_multiplier": self.arm.m, "shared": shared, "use_depthwise_bias": shared}
            block = layers.SeparableConv(FEATURES, 3, name="block", **options)
        x = ops.max_pool(nn.relu(block(x)), 5)
        return nn.Dense(10, name="head")(x.reshape(x.shape[0], -1))


def arms(filters: int) -> list[Arm]:
    """Lists the full convolution, then both others for every M."""
    every: list[Form] = ["own", "shared"]
    return [Arm("full"), *(Arm(form, m) for m, form in itertools.product(range(1, filters + 1), every))]


def counts(filters: int) -> list[list[Any]]:
    """Counts parameters of the block per M: rows, the first of them titles."""

    def both(number: int) -> list[Any]:
        return [f"{number:,}", f"{number / FULL:.3f}{' *' if number < FULL else ''}"]

    rows: list[list[Any]] = [["M", "full", "shared", "of full", "own, one bias", "of full", "own, both", "of full"]]
    for m in range(1, filters + 1):
        shared, own = Arm("shared", m).parameters, Arm("own", m).parameters
        rows.append([m, f"{FULL:,}", *both(shared), *both(own), *both(own + MAPS * m)])
    return rows


def optimizer(steps: int) -> optax.GradientTransformation:
    return optax.adam(optax.cosine_decay_schedule(LEARNING_RATE, steps))


def generator(split: Literal["train", "test"]) -> data.Generator:
    """Draws digits turned by up to 90 degrees either way."""
    return data.distorted(*data.digits(split=split), kind="R")


def timing(every: Sequence[Arm], steps: int) -> _harness.Case:
    """One training step of every network on one batch, side by side."""
    batch = jax.tree.map(jnp.asarray, generator("train")(jax.random.key(0), BATCH))

    def contender(arm: Arm) -> _harness.Contender:
        def build() -> _harness.Run:
            model, tx = Net(arm), optimizer(steps)
            state = train.create_state(jax.random.key(0), model, tx, batch)
            step = jax.jit(train.make_train_step(model, tx)).lower(state, batch).compile()
            return lambda: jax.block_until_ready(step(state, batch))

        # They compute different things; all that can be asked is a finite loss.
        return _harness.Contender(arm.name, build, lambda result: [np.isfinite(result[1]["loss"])])

    parameters = {"batch": BATCH, "size": 20, "maps": MAPS, "features": FEATURES}
    return _harness.Case("training step", parameters, [contender(arm) for arm in every], 0.0)


def accuracies(arm: Arm, options: Options, test: Any) -> list[float]:
    """Trains a network per seed and gives their test accuracies in percent."""
    found = []
    for seed in range(options.seeds):
        stream, tx = generator("train").stream(BATCH), optimizer(options.steps)
        key = jax.random.key(seed)
        result = train.fit(key, Net(arm), tx, stream, steps=options.steps, evaluate=test, log_every=options.steps)
        found.append(round(100 * result.evaluation["accuracy"], 2))
    return found


def entry(arm: Arm, measured: Sequence[float], milliseconds: float) -> dict[str, Any]:
    """Puts together what is known of an arm."""
    shape = jax.ShapeDtypeStruct((1, 20, 20, 1), jnp.float32)
    network = jax.eval_shape(Net(arm).init, jax.random.key(0), shape)["params"]
    block = sum(leaf.size for leaf in jax.tree.leaves(network["block"]))
    assert block == arm.parameters, (arm, block)
    return {
        "form": arm.form,
        "m": arm.m,
        "parameters": block,
        "network_parameters": sum(leaf.size for leaf in jax.tree.leaves(network)),
        "block_megaflops": round(2 * 10 * 10 * arm.multiplications / 1e6, 2),
        "step_milliseconds": milliseconds,
        "accuracies": list(measured),
        "mean": round(statistics.fmean(measured), 2),
        "std": round(statistics.stdev(measured), 2) if len(measured) > 1 else None,
    }


def against(found: Mapping[str, Any], one: str, other: str) -> dict[str, Any]:
    """Compares two arms seed by seed: they have seen the same images."""
    a, b = found[one], found[other]
    gaps = [x - y for x, y in zip(a["accuracies"], b["accuracies"], strict=True)]
    error = statistics.stdev(gaps) / len(gaps) ** 0.5 if len(gaps) > 1 else None
    return {
        "pair": f"{one} - {other}",
        "parameters": [a["parameters"], b["parameters"]],
        "gap": round(statistics.fmean(gaps), 2),
        "standard_error": None if error is None else round(error, 2),
        "time": round(a["step_milliseconds"] / b["step_milliseconds"], 2),
    }


def comparisons(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Compares the shared form with the nearest number of parameters, and with the same M, of the other."""
    pairs = []
    for name, arm in found.items():
        if arm["form"] != "shared":
            continue
        others = {other: entry["parameters"] for other, entry in found.items() if entry["form"] != "shared"}
        nearest = [other for other, n in others.items() if abs(n / arm["parameters"] - 1) < 0.02]
        pairs += [(name, other) for other in [f"own M={arm['m']}", *nearest]]
    return [against(found, *pair) for pair in dict.fromkeys(pairs)]


def summary(found: Mapping[str, Any], pairs: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Says where shared filters win: at the same M, at as many parameters, at the same accuracy."""
    verdicts: dict[str, dict[str, Any]] = {"Shared filters (beyond 2 standard errors)": {}}
    lines = verdicts["Shared filters (beyond 2 standard errors)"]
    same = {pair["pair"]: pair for pair in pairs if pair["pair"] == _against_own(pair["pair"])}
    near = {pair["pair"]: pair for pair in pairs if pair["pair"] not in same}
    for title, chosen in (("against own filters of the same M", same), ("at as many parameters, within 2 %", near)):
        signs = [np.sign(p["gap"]) * (abs(p["gap"]) > 2 * (p["standard_error"] or 0)) for p in chosen.values()]
        lines[title] = f"better {signs.count(1)}, worse {signs.count(-1)} times of {len(signs)}"
    front = [
        name
        for name, arm in found.items()
        if not any(o["parameters"] <= arm["parameters"] and o["mean"] > arm["mean"] for o in found.values())
    ]
    full = found["full"]
    reached = {}
    for form in ("own", "shared"):
        enough = [name for name, arm in found.items() if arm["form"] == form and arm["mean"] >= full["mean"]]
        reached[f"first that reaches the full convolution's mean, {form}"] = enough[0] if enough else "none"
    verdicts["By mean accuracy"] = {"nothing of at most as many parameters is better than": ", ".join(front), **reached}
    return verdicts


def _against_own(pair: str) -> str:
    one = pair.partition(" - ")[0]
    return f"{one} - {one.replace('shared', 'own')}"


def tables(results: Mapping[str, Any]) -> dict[str, list[list[Any]]]:
    """Makes the document's tables, for people."""

    def spread(mean: float, error: float | None) -> str:
        return f"{mean:.2f}" if error is None else f"{mean:.2f} ± {error:.2f}"

    rows: list[list[Any]] = [["form", "parameters", "of full", "MFLOP", "step, ms", "test accuracy, %"]]
    for name, arm in results["arms"].items():
        accuracy = spread(arm["mean"], arm["std"])
        share = f"{arm['parameters'] / FULL:.3f}"
        numbers = [f"{arm['parameters']:,}", share, arm["block_megaflops"], f"{arm['step_milliseconds']:.2f}"]
        rows.append([name, *numbers, accuracy])
    gaps: list[list[Any]] = [["pair", "parameters", "accuracy, points ± standard error", "time of a step, ratio"]]
    for pair in results["comparisons"]:
        sizes = " and ".join(f"{n:,}" for n in pair["parameters"])
        gaps.append([pair["pair"], sizes, spread(pair["gap"], pair["standard_error"]), pair["time"]])
    trained = f"{results['training']['seeds']} seeds, {results['training']['steps']} steps"
    return {
        f"Parameters of {FEATURES} filters 3x3 over {MAPS} maps (* saves)": results["counts"],
        f"Networks ({trained}; parameters and FLOPs, counted and per image, are the block's; ± is the standard "
        "deviation over seeds)": rows,
        "Shared filters against own filters of the same M, and against what has as many parameters within 2 %": gaps,
    }


def plot(found: Mapping[str, Any]) -> Any:
    """Draws accuracy over parameters, every point with its M."""
    canvas, ((axis,),) = figure(1, 1, width=7.4, height=4.4)
    titles = {"own": "own filters for every map", "shared": "filters shared by all maps", "full": "full convolution"}
    marks = (("own", PALETTE[2], "o", -1), ("shared", PALETTE[1], "s", 1), ("full", PALETTE[0], "D", 1))
    for form, color, marker, side in marks:
        chosen = [arm for arm in found.values() if arm["form"] == form]
        x, y = [arm["parameters"] for arm in chosen], [arm["mean"] for arm in chosen]
        errors = [arm["std"] or 0 for arm in chosen]
        how: dict[str, Any] = {
            "color": color,
            "marker": marker,
            "markersize": 6,
            "linewidth": 1.8,
            "elinewidth": 1,
            "capsize": 2,
        }
        how |= {"zorder": 3} if form == "full" else {}
        axis.errorbar(x, y, errors, label=titles[form], **how)
        for arm, error in zip(chosen, errors, strict=True):
            if arm["m"]:
                offset = {"textcoords": "offset points", "xytext": (0, 5 if side < 0 else -5)}
                at = (arm["parameters"], arm["mean"] - side * error)
                vertical = "bottom" if side < 0 else "top"
                axis.annotate(str(arm["m"]), at, color=color, fontsize=8, ha="center", va=vertical, **offset)
    axis.set_xlabel(f"parameters of the block ({MAPS} maps to {FEATURES}); numbers are M, the filters 3x3")
    axis.set_ylabel("test accuracy, %: mean and standard deviation over seeds", fontsize=9)
    axis.grid(axis="y", color=FAINT, linewidth=0.6)
    axis.set_axisbelow(True)
    axis.set_xlim(left=0)
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.legend(loc="lower right", frameon=False)
    return canvas


def show(console: Any, title: str, rows: Sequence[Sequence[Any]]) -> None:
    """Prints a table whose first row holds the titles."""
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for i, heading in enumerate(rows[0]):
        table.add_column(str(heading), justify="right" if i else "left")
    for row in rows[1:]:
        table.add_row(*map(str, row))
    console.print(table)


def run(options: Options) -> dict[str, Any]:
    """Counts, times, trains, and writes."""
    from rich.console import Console

    console = Console(width=120)
    if options.quick:
        options = dataclasses.replace(options, filters=1, seeds=2, steps=4)
    every = arms(options.filters)
    test = generator("test").fixed(jax.random.key(1), repeats=1 if options.quick else 5)
    timed = _harness.measure(timing(every, options.steps), options)
    found, start = {}, time.perf_counter()
    for arm in every:
        milliseconds = timed["contenders"][arm.name]["milliseconds"]["median"]
        found[arm.name] = entry(arm, accuracies(arm, options, test), milliseconds)
        console.print(f"{arm.name}: {found[arm.name]['mean']:.2f} % of {found[arm.name]['accuracies']}")
    results: dict[str, Any] = _harness.document("separable", [timed], options)
    results["training"] = {
        "seeds": options.seeds,
        "steps": options.steps,
        "batch": BATCH,
        "learning_rate": LEARNING_RATE,
        "data": "digits, 20 x 20, turned by up to 90 degrees",
        "test_images": len(test["label"]),
        "seconds": round(time.perf_counter() - start),
    }
    results |= {"counts": counts(9), "arms": found, "comparisons": comparisons(found)}
    results |= {"summary": summary(found, results["comparisons"]), "tables": tables(results)}
    _harness.check(results)
    for title, rows in results["tables"].items():
        show(console, title, rows)
    console.print(results["summary"])
    path = _harness.write(results, options)
    options.images.mkdir(parents=True, exist_ok=True)
    (options.images / "separable.png").write_bytes(png(plot(found)))
    console.print(f"wrote {path.name}, {path.with_suffix('.md').name} and separable.png")
    return results


def cached(function: Callable[[Options], Any], options: Options) -> Any:
    """Calls a function that compiles each network once for all seeds."""
    with tempfile.TemporaryDirectory() as folder:
        jax.config.update("jax_compilation_cache_dir", folder)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
        return function(options)


if __name__ == "__main__":
    settings = tyro.cli(Options, description=__doc__)
    _harness.limit_threads(settings.threads)
    cached(run, settings)
