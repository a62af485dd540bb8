"""Color, tone, filters, erasing and flips against committed results of torchvision and Pillow.

``python -m tests.ops.color_fixture_test`` writes the file anew where they are installed.
"""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import ops
from tests.support import released
from tests.support.paths import FIXTURES
from tests.support.selection import daily
from tests.support.untyped import untyped

FIXTURE = FIXTURES / "color.npz"
BOX = (3, 5, 11, 20)
FILL = (40, 50, 60)


def erased(x):
    fill = jnp.asarray(FILL, jnp.float32) / (1 if x.dtype == jnp.uint8 else 255)
    return ops.erase(x, untyped(BOX), value=fill)


def units(x, level):
    """A level as a threshold for an image of either kind."""
    return float(level) if x.dtype == jnp.uint8 else level / 255


CASES = {
    # ours, torchvision's name and arguments, levels by which uint8 may differ, largest difference of float32
    "grayscale": (ops.rgb_to_grayscale, "rgb_to_grayscale", (), 1, 2e-7),
    "to-grayscale": (ops.to_grayscale, "rgb_to_grayscale", (3,), 1, 2e-7),
    "brightness-0.4": (lambda x: ops.adjust_brightness(x, 0.4), "adjust_brightness", (0.4,), 1, 1e-7),
    "brightness-1.7": (lambda x: ops.adjust_brightness(x, 1.7), "adjust_brightness", (1.7,), 1, 2e-7),
    "contrast-0": (lambda x: ops.adjust_contrast(x, 0.0), "adjust_contrast", (0.0,), 1, 2e-7),
    "contrast-1.7": (lambda x: ops.adjust_contrast(x, 1.7), "adjust_contrast", (1.7,), 1, 4e-7),
    "saturation-0.4": (lambda x: ops.adjust_saturation(x, 0.4), "adjust_saturation", (0.4,), 1, 2e-7),
    "saturation-1.7": (lambda x: ops.adjust_saturation(x, 1.7), "adjust_saturation", (1.7,), 1, 4e-7),
    "hue--0.5": (lambda x: ops.adjust_hue(x, -0.5), "adjust_hue", (-0.5,), 1, 2e-6),
    "hue--0.1": (lambda x: ops.adjust_hue(x, -0.1), "adjust_hue", (-0.1,), 1, 2e-6),
    "hue-0.3": (lambda x: ops.adjust_hue(x, 0.3), "adjust_hue", (0.3,), 1, 2e-6),
    "gamma-0.4": (lambda x: ops.adjust_gamma(x, 0.4), "adjust_gamma", (0.4,), 1, 4e-7),
    "gamma-2.2": (lambda x: ops.adjust_gamma(x, 2.2, gain=1.5), "adjust_gamma", (2.2, 1.5), 1, 4e-7),
    "invert": (ops.invert, "invert", (), 0, 0),
    "posterize-1": (lambda x: ops.posterize(x, 1), "posterize", (1,), 0, None),
    "posterize-5": (lambda x: ops.posterize(x, 5), "posterize", (5,), 0, None),
    "solarize": (lambda x: ops.solarize(x, units(x, 100)), "solarize", (100,), 0, 0),
    "autocontrast": (ops.autocontrast, "autocontrast", (), 0, 2e-7),
    "equalize": (ops.equalize, "equalize", (), 0, 1e-7),
    "permute": (lambda x: ops.permute_channels(x, (2, 0, 1)), "permute_channels", ([2, 0, 1],), 0, 0),
    "sharpness-0": (lambda x: ops.adjust_sharpness(x, 0.0), "adjust_sharpness", (0.0,), 1, 4e-7),
    "sharpness-1.7": (lambda x: ops.adjust_sharpness(x, 1.7), "adjust_sharpness", (1.7,), 1, 4e-7),
    "blur": (lambda x: ops.gaussian_blur(x, 0.9, kernel_size=(7, 5)), "gaussian_blur", ([5, 7], [0.9, 0.9]), 1, 1e-6),
    "erase": (erased, "erase", None, 0, 1e-7),
    "left-right": (ops.flip_left_right, "horizontal_flip", (), 0, 0),
    "up-down": (ops.flip_up_down, "vertical_flip", (), 0, 0),
    "rotate-90": (lambda x: ops.rotate_90(x, 1), "rotate", (90,), 0, 0),
}
PILLOW = {
    "posterize": (lambda x: ops.posterize(x, 3), ("posterize", 3), 0),
    "solarize": (lambda x: ops.solarize(x, 100.0), ("solarize", 100), 0),
    "equalize": (ops.equalize, ("equalize",), 0),
    "autocontrast": (ops.autocontrast, ("autocontrast",), 1),
}


def images():
    """Smooth colors with noise; noise with clipped, black and gray parts; few dark levels."""
    rng = np.random.default_rng(11)
    rows, columns = np.mgrid[:24, :20][..., None]
    waves = 120 + 90 * np.sin(rows / 7 + np.arange(3)) * np.cos(columns / 5 - np.arange(3))
    smooth = waves + rng.normal(0, 4, (24, 20, 3))
    noise = rng.uniform(-60, 315, (24, 20, 3))
    noise[:6] = noise[:6, :, :1]
    noise[6:8] = 0
    few = rng.integers(30, 60, (24, 20, 3)) // 5 * 5
    return np.clip([smooth, noise, few], 0, 255).astype(np.uint8)


OTHER_AMOUNTS = {
    "brightness-0.4",
    "contrast-0",
    "saturation-0.4",
    "hue--0.5",
    "hue--0.1",
    "gamma-0.4",
    "posterize-5",
    "sharpness-0",
}


@pytest.mark.parametrize("case", daily(CASES, set(CASES) - OTHER_AMOUNTS))
def test_equals_the_committed_results_of_torchvision(case):
    function, _, _, levels, tolerance = CASES[case]
    stored = np.load(FIXTURE)
    run = released.jit(function)
    got, want = run(jnp.asarray(images())), stored[f"{case}-uint8"]
    assert got.dtype == jnp.uint8
    assert got.shape == want.shape
    assert np.abs(np.asarray(got, int) - want).max() <= levels
    got = run(images()[1:2].astype(np.float32) / np.float32(255))
    if tolerance is None:  # what is documented: the levels of uint8
        np.testing.assert_allclose(got, want[1:2].astype(np.float32) / 255, rtol=0, atol=1e-7)
    else:
        np.testing.assert_allclose(got, stored[f"{case}-float32"], rtol=0, atol=max(tolerance, 1e-12))


@pytest.mark.parametrize("case", PILLOW)
def test_equals_the_committed_results_of_pillow(case):
    function, _, levels = PILLOW[case]
    got, want = jax.jit(function)(jnp.asarray(images())), np.load(FIXTURE)[f"pillow-{case}"]
    assert np.abs(np.asarray(got, int) - want).max() <= levels


def write_fixture():
    import PIL.Image
    import PIL.ImageOps
    import torch

    torchvision = importlib.import_module("torchvision")
    reference = importlib.import_module("torchvision.transforms.v2.functional")

    stored = {"torchvision": torchvision.__version__, "pillow": PIL.__version__}
    floats = images()[1:2].astype(np.float32) / np.float32(255)
    for case, (_, name, arguments, _, tolerance) in CASES.items():
        for kind, pictures in (("uint8", images()), ("float32", floats)):
            x = torch.tensor(pictures).permute(0, 3, 1, 2).contiguous()
            if kind == "float32" and tolerance is None:
                continue
            scale = 1 if kind == "uint8" else 255
            options = {"expand": True} if name == "rotate" else {}
            if name == "erase":
                x0, y0, x1, y1 = BOX
                fill = (torch.tensor(FILL).float() / scale).to(x.dtype)[:, None, None]
                given = (y0, x0, y1 - y0, x1 - x0, fill)
            else:
                given = tuple(a / scale for a in arguments) if name == "solarize" else arguments
            y = getattr(reference, name)(x, *given, **options)
            stored[f"{case}-{kind}"] = y.permute(0, 2, 3, 1).numpy()
    for case, (_, (name, *arguments), _) in PILLOW.items():
        pictures = [PIL.Image.fromarray(image) for image in images()]
        stored[f"pillow-{case}"] = np.stack([getattr(PIL.ImageOps, name)(p, *arguments) for p in pictures])
    np.savez_compressed(FIXTURE, **stored)


if __name__ == "__main__":
    write_fixture()
