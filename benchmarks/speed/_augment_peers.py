"""The augmentations of ``benchmarks.speed.augment`` as the users of other libraries write them.

Every function takes a task and a batch (n, h, w, c) of float32 in [0, 1] or of uint8, and returns a function
that makes one augmented batch per call, with a new draw; or it raises ``Skipped``. ``LESS`` lists what peers leave out.
"""

import contextlib
import importlib
import itertools
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import _harness, _tasks

PLAIN, NOISY, RANDOM, TRIVIAL = "affine, jitter", "affine, jitter, noise", "RandAugment(2, 9)", "TrivialAugmentWide"
DEGREES, TRANSLATE, SCALE, SIGMA = 15.0, 0.1, (0.9, 1.1), 0.05
JITTER = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}

NO_PER_EXAMPLE = "the operations are drawn once for the whole batch"
LESS = {
    "kornia": {RANDOM: NO_PER_EXAMPLE, TRIVIAL: NO_PER_EXAMPLE},
    "torchvision, per batch": dict.fromkeys((PLAIN, NOISY, RANDOM, TRIVIAL), "one draw for the whole batch"),
    "augmax": dict.fromkeys(
        (PLAIN,),
        "no random translation or scale; contrast by a curve of each pixel; its jitter computes no saturation",
    ),
    "keras": {RANDOM: NO_PER_EXAMPLE},
}
"""What a contender leaves out, by name and task; all but jaxcnn and torchvision return floating images."""


def with_jax(function: Callable[[Any, Any], Any], images: np.ndarray) -> _harness.Run:
    """Compiles a function of a key and a batch; every call has a key of its own."""
    batch, key, numbers = jnp.asarray(images), jax.random.key(0), itertools.count()
    compiled = jax.jit(lambda number, batch: function(jax.random.fold_in(key, number), batch))
    compiled = compiled.lower(np.uint32(0), batch).compile()
    return lambda: jax.block_until_ready(compiled(np.uint32(next(numbers)), batch))


def per_image(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Lifts a function of a key and an image to a batch, converted to floating images in [0, 1]."""

    def augment_batch(key: Any, batch: Any) -> Any:
        floating = batch.astype(jnp.float32) / 255 if batch.dtype == jnp.uint8 else batch
        return jax.vmap(function)(jax.random.split(key, batch.shape[0]), floating)

    return augment_batch


def augmax(task: str, images: np.ndarray) -> _harness.Run:
    """Prepares augmax's chain, which samples a flip and a rotation once."""
    library = _require("augmax")
    if task not in (PLAIN, NOISY):
        raise _harness.Skipped("augmax has no such policy")
    if task == NOISY:
        raise _harness.Skipped("augmax has no noise")
    chain = library.Chain(library.HorizontalFlip(), library.Rotate(DEGREES), library.ColorJitter(**JITTER, p=1.0))
    return with_jax(per_image(chain), images)


def dm_pix(task: str, images: np.ndarray) -> _harness.Run:
    """Prepares dm_pix's functions; the matrix of its affine transform is built here."""
    library = _require("dm_pix")
    if task not in (PLAIN, NOISY):
        raise _harness.Skipped("dm_pix has no such policy")
    if task == NOISY:
        raise _harness.Skipped("dm_pix has no noise")
    h, w = images.shape[1:3]

    def change(key: Any, image: Any) -> Any:
        keys = jax.random.split(key, 6)
        angle, factor, x, y = jax.random.uniform(keys[0], (4,)) * 2 - 1
        angle, factor = angle * np.float32(np.radians(DEGREES)), 1 + factor * np.float32(SCALE[1] - 1)
        cos, sin = jnp.cos(angle) / factor, jnp.sin(angle) / factor
        zero, one = jnp.zeros(()), jnp.ones(())
        matrix = jnp.stack([jnp.stack(row) for row in ((cos, -sin, zero), (sin, cos, zero), (zero, zero, one))])
        center = jnp.array([(h - 1) / 2, (w - 1) / 2, 0.0])
        shift = jnp.stack([y * TRANSLATE * h, x * TRANSLATE * w, zero])
        image = library.random_flip_left_right(keys[1], image)
        image = library.affine_transform(image, matrix, offset=center - matrix @ (center + shift), mode="constant")
        image = library.random_brightness(keys[2], image, JITTER["brightness"])
        image = library.random_contrast(keys[3], image, 1 - JITTER["contrast"], 1 + JITTER["contrast"])
        image = library.random_saturation(keys[4], image, 1 - JITTER["saturation"], 1 + JITTER["saturation"])
        return jnp.clip(library.random_hue(keys[5], jnp.clip(image, 0, 1), JITTER["hue"]), 0, 1)

    return with_jax(per_image(change), images)


def keras(task: str, images: np.ndarray) -> _harness.Run:
    """Prepares Keras's layers on JAX, compiled as in training; without an affine transform they sample three times."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    library = _require("keras")
    if library.backend.backend() != "jax":
        raise _harness.Skipped("Keras runs on another backend than JAX; KERAS_BACKEND=jax chooses it")
    if task == TRIVIAL:
        raise _harness.Skipped("Keras has no such policy")
    if task == RANDOM and images.size < 10_000:
        raise _harness.Skipped("Keras's layer takes half a minute to compile")
    from_bytes, given = images.dtype == np.uint8, library.layers
    outside = {"fill_mode": "constant", "data_format": "channels_last"}
    if task == RANDOM:
        # It computes all its operations every time, and then selects.
        layers = [given.RandAugment(value_range=(0, 255 if from_bytes else 1), num_ops=2, factor=9 / 30)]
        layers += [given.Rescaling(1 / 255)] * from_bytes
    else:
        layers = [given.Rescaling(1 / 255)] * from_bytes
        layers += [
            given.RandomFlip("horizontal", data_format="channels_last"),
            given.RandomRotation(DEGREES / 360, **outside),
            given.RandomTranslation(TRANSLATE, TRANSLATE, **outside),
            given.RandomZoom((SCALE[0] - 1, SCALE[1] - 1), **outside),
            given.RandomColorJitter(
                value_range=(0, 1),
                brightness_factor=JITTER["brightness"],
                contrast_factor=JITTER["contrast"],
                saturation_factor=(0.3, 0.7),  # 0.5 leaves an image as it is
                hue_factor=JITTER["hue"],
            ),
        ]
        layers += [given.GaussianNoise(SIGMA)] * (task == NOISY)
    model = library.Sequential(layers)
    model.build(images.shape)
    state, batch = [variable.value for variable in model.non_trainable_variables], jnp.asarray(images)

    def change(state: Any, batch: Any) -> Any:
        changed, state = model.stateless_call([], state, batch, training=True)
        return jnp.clip(changed, 0, 1), state

    compiled = jax.jit(change).lower(state, batch).compile()

    def run() -> Any:
        nonlocal state
        changed, state = compiled(state, batch)
        return jax.block_until_ready(changed)

    return run


def kornia(task: str, images: np.ndarray) -> _harness.Run:
    """Prepares kornia's augmentations, which draw for every image of a batch by themselves."""
    torch, place = _tasks.torch_device()
    _require("kornia")
    given = importlib.import_module("kornia.augmentation")

    if task == RANDOM:
        change = given.auto.RandAugment(2, 9)
    elif task == TRIVIAL:
        change = given.auto.TrivialAugment()
    else:
        steps = [
            given.RandomHorizontalFlip(),
            given.RandomAffine(DEGREES, (TRANSLATE, TRANSLATE), SCALE, p=1.0),
            given.ColorJitter(*JITTER.values(), p=1.0),
        ]
        steps += [given.RandomGaussianNoise(0.0, SIGMA, p=1.0)] * (task == NOISY)
        change = given.AugmentationSequential(*steps, same_on_batch=False)
    batch = _first_channels(torch, images).to(place)

    def work() -> Any:
        floating = batch.float() / 255 if batch.dtype == torch.uint8 else batch
        changed = change(floating)
        return changed.clamp(0, 1) if task == NOISY else changed  # its noise alone does not keep the range

    return _in_torch(torch, place, work)


def torchvision(task: str, images: np.ndarray, *, per_example: bool) -> _harness.Run:
    """Prepares torchvision's transforms (v2), image by image or with one draw for all."""
    torch, place = _tasks.torch_device()
    with contextlib.suppress(ImportError):  # declares operators that a torchvision without its compiled part lacks
        importlib.import_module("torchvision_cpu")
    try:
        v2 = importlib.import_module("torchvision.transforms.v2")
    except (ImportError, RuntimeError) as error:
        raise _harness.Skipped(f"torchvision cannot be imported: {str(error).splitlines()[0]}") from error
    bilinear = v2.InterpolationMode.BILINEAR
    if task == RANDOM:
        change = v2.RandAugment(2, 9, interpolation=bilinear)
    elif task == TRIVIAL:
        change = v2.TrivialAugmentWide(interpolation=bilinear)
    else:
        steps = [
            v2.RandomHorizontalFlip(),
            v2.RandomAffine(DEGREES, (TRANSLATE, TRANSLATE), SCALE, interpolation=bilinear),
            v2.ColorJitter(**JITTER),
        ]
        steps += [v2.GaussianNoise(0.0, SIGMA)] * (task == NOISY)
        change = v2.Compose(steps)
    batch = _first_channels(torch, images).to(place)
    if not per_example:
        return _in_torch(torch, place, lambda: change(batch))
    return _in_torch(torch, place, lambda: torch.stack([change(image) for image in batch]))


def _first_channels(torch: Any, images: np.ndarray) -> Any:
    return torch.from_numpy(np.moveaxis(images, -1, 1).copy())


def _in_torch(torch: Any, place: str, work: Callable[[], Any]) -> _harness.Run:
    torch.manual_seed(0)

    def run() -> Any:
        with torch.inference_mode():
            changed = work()
        if place == "cuda":
            torch.cuda.synchronize()
        return changed.permute(0, 2, 3, 1)

    return run


def _require(name: str) -> Any:
    """Imports a library, or skips the contender."""
    try:
        library = _harness.optional(name)
    except Exception as error:  # a backend that is not installed, a torch that does not fit
        raise _harness.Skipped(f"{name} cannot be imported: {error}") from error
    if library is None:
        raise _harness.Skipped(f"{name} is not installed")
    return library


def examine(name: str, run: _harness.Run, images: np.ndarray, *, per_example: bool, tries: Sequence[int]) -> None:
    """Refuses a contender whose batches have another shape, are out of range, unchanged, or all of one draw.

    Args:
        name: The contender.
        run: Makes a batch.
        images: The original images; the second half equals the first.
        per_example: Whether equal images must be augmented differently.
        tries: Calls in which this has to show: a single draw may be the operation that does nothing.
    """
    start = images.astype(np.float32) / (255 if images.dtype == np.uint8 else 1)
    seen, half = [], len(images) // 2
    for _ in tries:
        result = run()
        values = np.asarray(result.cpu() if hasattr(result, "cpu") else result)
        levels = values.dtype == np.uint8
        values = values.astype(np.float32) / (255 if levels else 1)
        good = values.shape == images.shape and bool(np.isfinite(values).all())
        if not good or values.min() < -1e-4 or values.max() > 1 + 1e-4:
            raise AssertionError(f"{name}: images of {images.shape} must stay so, and in range, got {values.shape}")
        seen.append(values)
    changed = any(np.abs(values - start).max() > 0.01 for values in seen)
    anew = any(np.abs(values - seen[0]).max() > 0.01 for values in seen[1:])
    apart = any(np.abs(values[:half] - values[half:]).max() > 0.01 for values in seen)
    if not (changed and anew and (apart or not per_example)):
        raise AssertionError(f"{name}: changed {changed}, drawn anew {anew}, equal images made different {apart}")
