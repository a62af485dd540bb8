"""Does augmentation help? One small network on a few hundred images, trained with and without.

Command: ``python -m benchmarks.experiments.augmentation``, with ``--quick`` to see that it runs, with ``--data`` for
other images than the built-in digits. Writes ``results/augmentation-<device>.json``, a table and
``docs/images/augmentation_experiment.png``; ``--data cifar.npz`` adds the file's name to these. Takes some six minutes
on two CPU cores.

The images are divided once: half of them, at most 1000, for testing, 300 for validation, and from what is left each
seed draws its own 300 for training. Seed i has the same images, in the same batches, and the same first parameters in
every arm, so arms are compared seed by seed. All share network, optimizer (Adam), steps and schedule (cosine); the one
thing that was chosen, on the validation images, is the learning rate: that of the least mean error of the arms ``none``
and ``affine`` over all seeds. Strengths are the usual ones and were not tuned, for none of the arms.

What the intervals say: seeds vary in the images for training, parameters and draws, but the images for testing are the
same ones for all. AugMix stands here without the loss that its authors add, and the policies with the strengths that
were published for photographs, a translation by up to 32 pixels among them.
"""

import dataclasses
import functools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro

from benchmarks import _harness
from jaxcnn import augment, data, metrics, models, train
from jaxcnn.augment.composition import Augmentation
from jaxcnn.report import png
from jaxcnn.report.style import FAINT, PALETTE, figure
from jaxcnn.train.step import step_keys

DOCS = Path(__file__).parents[2] / "docs" / "images"
NONE = "none"
RATES = (1e-3, 3e-3, 1e-2, 3e-2)
TUNED = (NONE, "affine")
"""The arms whose validation errors choose the learning rate."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(_harness.Options):
    """Options of the experiment."""

    data: Path | None = None
    """A folder with one sub-folder per class, or an npz file with images (n, h, w, c) and labels; None: digits."""
    size: int | None = None
    """Side of the digits (20 by default) or of a folder's images (32); an npz file's stay as they are."""
    seeds: int = 5
    """Networks per arm."""
    steps: int = 500
    """Training steps of each."""
    batch: int = 32
    """Images per step."""
    training: int = 300
    """Images that each network is trained with."""
    validation: int = 300
    """Images that choose the learning rate."""
    images: Path = DOCS
    """Folder of the plot."""


@dataclasses.dataclass(frozen=True)
class Arm:
    """How the images of a batch are augmented: a function for each, or mixup, which changes labels too."""

    function: Augmentation | None = None
    mixed: bool = False


@dataclasses.dataclass(frozen=True)
class Data:
    """Images in three parts; ``pool`` is what each seed draws its own for training from."""

    name: str
    classes: int
    pool: dict[str, np.ndarray]
    validation: dict[str, np.ndarray]
    test: dict[str, np.ndarray]


def arms(side: int) -> dict[str, Arm]:
    """Lists the arms for images of a side."""
    flip = augment.random_flip_left_right
    crop = partial(augment.random_pad_and_crop, padding=max(1, side // 8))
    affine = partial(augment.random_affine, degrees=15.0, translate=0.1, scale=(0.9, 1.1))
    # Moves pixels by about a twentieth of the side.
    elastic = partial(augment.random_elastic, alpha=0.035 * side**2, sigma=0.2 * side)
    jitter = partial(augment.random_color_jitter, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
    noise = partial(augment.random_gaussian_noise, sigma=(0.0, 0.2))
    erasing = augment.random_erasing
    return {
        NONE: Arm(),
        "flip": Arm(flip),
        "pad and crop": Arm(crop),
        "affine": Arm(affine),
        "elastic": Arm(elastic),
        "color jitter": Arm(jitter),
        "Gaussian noise": Arm(noise),
        "erasing": Arm(erasing),
        "affine, noise, erasing": Arm(augment.sequence([affine, noise, erasing])),
        "mixup": Arm(mixed=True),
        "RandAugment": Arm(augment.rand_augment),
        "TrivialAugment": Arm(augment.trivial_augment),
        "AugMix": Arm(augment.aug_mix),
    }


def load(options: Options) -> Data:
    """Reads and divides the images."""
    if options.data is None:
        splits = [data.digits(size=options.size or 20, split=split) for split in ("train", "test")]
        images, labels = (np.concatenate(parts) for parts in zip(*splits, strict=True))
    elif options.data.is_dir():
        source = data.image_folder(options.data, size=options.size or 32)
        items = [source[i] for i in range(len(source))]
        images, labels = (np.stack([item[field] for item in items]) for field in ("image", "label"))
    else:
        images, labels = data.read_npz(options.data, images="images", labels="labels")
    if images.dtype == np.uint8:
        images = images.astype(np.float32) / 255
    tested = min(len(images) // 2, 1000)
    left = len(images) - tested - options.validation
    if left < options.training:
        kept = options.training + options.validation
        needed = f"at least {min(2 * kept - 1, kept + 1000)} images"
        raise ValueError(f"augmentation: data must hold {needed}, got {len(images)}.")
    order = np.random.default_rng(0).permutation(len(images))
    parts = np.split(order, [tested, tested + options.validation])
    test, validation, pool = ({"image": images[chosen], "label": labels[chosen]} for chosen in parts)
    return Data(options.data.stem if options.data else "digits", int(labels.max()) + 1, pool, validation, test)


def optimizer(rate: Any, steps: int) -> optax.GradientTransformation:
    """Keeps the rate in its state, so that a compiled step serves for all rates."""
    adam = optax.inject_hyperparams(optax.adam)(learning_rate=rate)
    return optax.chain(adam, optax.scale_by_schedule(optax.cosine_decay_schedule(1.0, steps)))


class Trainer:
    """Trains the same network in every arm; the step of each is compiled once."""

    def __init__(self, options: Options, given: Data):
        """Takes the data; nothing is compiled yet."""
        self.options, self.given = options, given
        self.model = models.create("cnn", num_classes=given.classes, features=(16, 32), kernel_sizes=(5, 5))
        self.arms = arms(given.test["image"].shape[1])
        self.example = {name: jnp.asarray(values[: options.batch]) for name, values in given.pool.items()}
        self.start = jax.jit(self._start)
        self.count = jax.jit(train.make_eval_step(self.model, metrics={"accuracy": metrics.accuracy}))
        self.step = functools.cache(self._step)

    def _start(self, key: Any, rate: Any) -> train.State:
        tx = optimizer(rate, self.options.steps)
        return train.create_state(key, self.model, tx, self.example)

    def _step(self, name: str) -> Callable[..., Any]:
        arm, tx = self.arms[name], optimizer(RATES[0], self.options.steps)
        change = None if arm.function is None else augment.batched(arm.function)
        inner = train.make_train_step(self.model, tx, augment=change)

        def mixed(state: Any, batch: Any) -> Any:
            key, classes = step_keys(state).data, self.given.classes
            images, labels = augment.mixup(key, batch["image"], batch["label"], num_classes=classes)
            return inner(state, {"image": images, "label": labels})

        step = jax.jit(mixed if arm.mixed else inner)
        return step.lower(self.start(jax.random.key(0), RATES[0]), self.example).compile()

    def chosen(self, seed: int) -> dict[str, np.ndarray]:
        """Draws the images that a seed trains with."""
        pool = self.given.pool
        places = np.random.default_rng([1, seed]).permutation(len(pool["label"]))[: self.options.training]
        return {name: values[places] for name, values in pool.items()}

    def fit(self, name: str, seed: int, rate: float) -> train.State:
        """Trains one network."""
        step, loader = self.step(name), data.Loader(self.chosen(seed), self.options.batch, seed=seed)
        state, outcome = self.start(jax.random.key(seed), rate), {"loss": jnp.float32(0.0)}
        for i in range(self.options.steps):
            state, outcome = step(state, loader[i])
        if not np.isfinite(outcome["loss"]):
            raise FloatingPointError(f"{name}, seed {seed}: the loss is {outcome['loss']}")
        return state

    def error(self, state: train.State, part: Mapping[str, np.ndarray]) -> float:
        """Returns the percentage of images of a part that are misclassified."""
        loader = data.Loader(part, min(256, len(part["label"])), seed=0, shuffle=False, drop_last=False)
        sums = [jax.device_get(self.count(state, batch)) for batch in loader.epoch()]
        total = {name: sum(float(s[name]) for s in sums) for name in ("accuracy", "count")}
        return 100 * (1 - metrics.mean(total)["accuracy"])


def timing(trainer: Trainer, names: Sequence[str]) -> _harness.Case:
    """One training step of every arm on one batch, side by side; compiles them all."""

    def contender(name: str) -> _harness.Contender:
        def build() -> _harness.Run:
            step, state = trainer.step(name), trainer.start(jax.random.key(0), RATES[0])
            return lambda: jax.block_until_ready(step(state, trainer.example))

        # They compute different things; all that can be asked is a finite loss.
        return _harness.Contender(name, build, lambda result: [np.isfinite(result[1]["loss"])])

    parameters = {"images": list(trainer.example["image"].shape)}
    return _harness.Case("training step", parameters, [contender(name) for name in names], 0.0)


def choose_rate(trainer: Trainer, names: Sequence[str], seeds: int) -> dict[str, float]:
    """Returns the mean validation error per learning rate, over the arms that choose it."""
    found = {}
    for rate in RATES:
        states = [trainer.fit(name, seed, rate) for name in names for seed in range(seeds)]
        found[f"{rate:g}"] = round(statistics.fmean(trainer.error(s, trainer.given.validation) for s in states), 2)
    return found


def summarize_arm(errors: Sequence[Mapping[str, float]], reference: Sequence[float]) -> dict[str, Any]:
    """Summarizes an arm; the gap to ``none`` is paired by seed, with Student's interval."""
    from scipy.stats import t

    test = [error["test"] for error in errors]
    gaps = [own - other for own, other in zip(test, reference, strict=True)]
    n = len(gaps)
    reach = float(t.ppf(0.975, n - 1)) * statistics.stdev(gaps) / n**0.5
    return {
        "test_errors": [round(error, 2) for error in test],
        "mean": round(statistics.fmean(test), 2),
        "std": round(statistics.stdev(test), 2),
        "training_error": round(statistics.fmean(error["training"] for error in errors), 2),
        "gap": round(statistics.fmean(gaps), 2),
        "interval": round(reach, 2),
    }


def verdict(arm: Mapping[str, Any]) -> int:
    """Returns 1 for an arm that is better than none, -1 for one that is worse, 0 if they cannot be distinguished."""
    return 0 if abs(arm["gap"]) <= arm["interval"] else (1 if arm["gap"] < 0 else -1)


def summary(found: Mapping[str, Any], timed: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Summarizes the numbers in three sentences."""

    def named(sign: int) -> str:
        names = [name for name, arm in found.items() if name != NONE and verdict(arm) == sign]
        return f"{len(names)} ({'; '.join(names)})" if names else "0"

    plain, others = found[NONE], {name: arm for name, arm in found.items() if name != NONE}
    best = min(others, key=lambda name: others[name]["mean"])
    worst = max(others, key=lambda name: others[name]["mean"])
    ratios = {name: timed["contenders"][name]["ratio"]["median"] for name in others}
    slow = max(ratios, key=lambda name: ratios[name])

    def shown(name: str) -> str:
        arm = others[name]
        return f"{name} with {arm['mean']:.2f} % ({arm['gap']:+.2f} ± {arm['interval']:.2f} points)"

    interval = "the 95 % interval of the paired difference in test error"
    return {
        "What it shows": {
            "against no augmentation": f"of {len(others)} arms, {interval} is below 0 (better) for {named(1)}, above 0 "
            f"(worse) for {named(-1)}, and contains 0 for {named(0)}; if no arm made a difference, about "
            f"{0.05 * len(others):.1f} of them would still appear to.",
            "best and worst": f"without augmentation {plain['mean']:.2f} % are wrong; the lowest mean error (selected "
            f"on the test images, hence slightly optimistic) is that of {shown(best)}, the highest {shown(worst)}; on "
            f"their own training images the three have {plain['training_error']:.2f}, "
            f"{others[best]['training_error']:.2f} and {others[worst]['training_error']:.2f} %.",
            "price": f"a step of {best} takes {ratios[best]:.2f} times as long as one without augmentation, that of "
            f"the slowest arm, {slow}, {ratios[slow]:.2f} times.",
        }
    }


def table(found: Mapping[str, Any], timed: Mapping[str, Any], batch: int) -> list[list[Any]]:
    """Makes the rows for people, the first of them titles."""
    rows: list[list[Any]] = [
        ["arm", "test error, %", "against none, points", "", "training error, %", "training, images/s"]
    ]
    words = {1: "better", -1: "worse", 0: "no difference shown"}
    for name, arm in found.items():
        speed = f"{1000 * batch / timed['contenders'][name]['milliseconds']['median']:,.0f}"
        gap = ["", ""] if name == NONE else [f"{arm['gap']:+.2f} ± {arm['interval']:.2f}", words[verdict(arm)]]
        rows.append([name, f"{arm['mean']:.2f} ± {arm['std']:.2f}", *gap, f"{arm['training_error']:.2f}", speed])
    return rows


def plot(found: Mapping[str, Any], timed: Mapping[str, Any]) -> Any:
    """Draws errors, every seed as a point, and the time of a step, one row per arm."""
    names = list(found)
    canvas, ((errors, times),) = figure(
        1, 2, width=9.0, height=1.2 + 0.32 * len(names), sharey=True, width_ratios=(2, 1)
    )
    colors = {1: PALETTE[2], -1: PALETTE[1], 0: PALETTE[0]}
    for i, name in enumerate(names):
        arm, color = found[name], colors[verdict(found[name])]
        errors.plot(arm["test_errors"], [i] * len(arm["test_errors"]), "o", color=color, alpha=0.35, markersize=4)
        style: dict[str, Any] = {"color": color, "markersize": 7, "capsize": 3}
        errors.errorbar([arm["mean"]], [i], xerr=[arm["std"]], fmt="D", **style)
        milliseconds = timed["contenders"][name]["milliseconds"]
        sides = [[milliseconds["median"] - milliseconds["q1"]], [milliseconds["q3"] - milliseconds["median"]]]
        times.errorbar([milliseconds["median"]], [i], xerr=sides, fmt="o", **style)
    errors.axvline(found[NONE]["mean"], color=PALETTE[0], linewidth=1, linestyle="--", zorder=0)
    errors.set_yticks(range(len(names)), names)
    errors.set_ylim(len(names) - 0.4, -0.6)
    errors.set_xlabel("test error, %: seeds, mean and standard deviation;\ngreen better, orange worse than none (95 %)")
    times.set_xlabel("a training step, ms:\nmedian and quartiles")
    times.set_xlim(left=0)
    for axis in (errors, times):
        axis.grid(axis="x", color=FAINT, linewidth=0.6)
        axis.set_axisbelow(True)
    return canvas


def run(options: Options) -> dict[str, Any]:
    """Times, chooses the learning rate, trains, and writes."""
    from rich.console import Console

    console, start = Console(width=120), time.perf_counter()
    if options.seeds < 2:
        raise ValueError(f"augmentation: seeds must be at least 2, to say how much they differ, got {options.seeds}.")
    if options.quick:
        options = dataclasses.replace(options, seeds=2, steps=3, batch=8, training=16, validation=16, size=16)
    trainer = Trainer(options, load(options))
    given = trainer.given
    names = [NONE, "affine"] if options.quick else list(trainer.arms)
    timed = _harness.measure(timing(trainer, names), options)
    validation = choose_rate(trainer, TUNED, options.seeds)
    rate = min(validation, key=lambda key: validation[key])
    console.print(f"validation error, % per learning rate: {validation}; taken: {rate}")

    found: dict[str, Any] = {}
    plain: list[float] = []
    for name in names:
        errors = []
        for seed in range(options.seeds):
            state = trainer.fit(name, seed, float(rate))
            parts = {"test": given.test, "training": trainer.chosen(seed)}
            errors.append({part: trainer.error(state, images) for part, images in parts.items()})
        plain = [error["test"] for error in errors] if name == NONE else plain
        found[name] = summarize_arm(errors, plain)
        console.print(f"{name}: {found[name]['mean']:.2f} % wrong, {found[name]['test_errors']}")

    called = "augmentation" if options.data is None else f"augmentation-{given.name}"
    results = _harness.document(called, [timed], options)
    if options.data is not None:
        results["command"] = results["command"].replace(str(options.data), options.data.name)
    results["training"] = {
        "data": given.name,
        "shape": list(given.test["image"].shape[1:]),
        "images": {"training": options.training, "pool": len(given.pool["label"])}
        | {part: len(getattr(given, part)["label"]) for part in ("validation", "test")},
        "seeds": options.seeds,
        "steps": options.steps,
        "batch": options.batch,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(trainer.start(jax.random.key(0), RATES[0]).params)),
        "learning_rate": float(rate),
        "validation_errors": validation,
        "seconds": round(time.perf_counter() - start),
    }
    results["arms"], results["summary"] = found, summary(found, timed)
    training = results["training"]
    counts = training["images"]
    title = (
        f"{given.name}, {' x '.join(map(str, training['shape']))}; {options.training} images for training (drawn per "
        f"seed from {counts['pool']}), {counts['test']} for testing; {options.seeds} seeds, {options.steps} steps of "
        f"{options.batch}, Adam with {rate} (validation error, % per rate: "
        f"{', '.join(f'{key}: {value}' for key, value in validation.items())}); errors with the standard deviation "
        f"over seeds, differences to none with half their 95 % interval; load {results['settings']['load'][0]}"
    )
    results["tables"] = {title: table(found, timed, options.batch)}
    _harness.check(results)
    console.print(results["summary"])
    path = _harness.write(results, options)
    options.images.mkdir(parents=True, exist_ok=True)
    image = called.replace("augmentation", "augmentation_experiment") + ("-quick" if options.quick else "") + ".png"
    (options.images / image).write_bytes(png(plot(found, timed)))
    console.print(f"wrote {path.name}, {path.with_suffix('.md').name} and {image}")
    return results


if __name__ == "__main__":
    settings = tyro.cli(Options, description=__doc__)
    _harness.limit_threads(settings.threads)
    run(settings)
