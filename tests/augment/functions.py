"""Every augmentation with options that change an image, and with options that change nothing."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn import augment

P = functools.partial
KEY = jax.random.key(3)
SIZE = 12


def photograph(size=SIZE, channels=3):
    """Makes a smooth image in [0.05, 0.95], different in every channel."""
    y, x = np.mgrid[:size, :size] / (size - 1)
    waves = [np.sin(3 * x + (1 + i) * y + i) * np.cos(2 * y * (i + 1) - x) for i in range(channels)]
    return jnp.asarray(0.5 + 0.45 * np.stack(waves, -1), jnp.float32)


IMAGE = photograph()

MOVING = {
    "random_flip_left_right": {"p": 1.0},
    "random_flip_up_down": {"p": 1.0},
    "random_rotate_90": {"turns": (1, 3)},
    "random_rotation": {"degrees": 30.0},
    "random_translation": {},
    "random_scale": {},
    "random_shear": {},
    "random_affine": {"degrees": 20.0, "translate": 0.1, "scale": (0.8, 1.2), "shear": 5.0},
    "random_perspective": {"p": 1.0},
    "random_tps": {},
    "random_elastic": {"alpha": 10.0, "sigma": 2.0},
    "random_pad_and_crop": {},
    "random_crop": {"shape": (8, 9)},
    "center_crop": {"shape": (8, 9)},
    "random_resized_crop": {"shape": (8, 9)},
}
COLORING = {
    "random_brightness": {},
    "random_contrast": {},
    "random_saturation": {},
    "random_hue": {},
    "random_color_jitter": {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1},
    "random_gamma": {},
    "random_grayscale": {"p": 1.0},
    "random_channel_shuffle": {},
    "random_invert": {"p": 1.0},
    "random_posterize": {"bits": (3, 5), "p": 1.0},
    "random_solarize": {"p": 1.0},
    "random_equalize": {"p": 1.0},
    "random_autocontrast": {"p": 1.0},
    "random_sharpness": {"p": 1.0, "sharpness": (1.5, 3.0)},
    "random_gaussian_blur": {"sigma": (1.0, 2.0)},
    "random_gaussian_noise": {},
    "random_speckle_noise": {},
    "random_shot_noise": {},
    "random_salt_and_pepper": {"amount": 0.2},
    "random_erasing": {"p": 1.0},
    "random_cutout": {"size": 4},
    "random_grid_mask": {},
}
ALL = MOVING | COLORING
FLAT = {
    "random_posterize",
    "random_solarize",
    "random_equalize",
    "random_salt_and_pepper",
}  # no gradient, or one with jumps

NOTHING = {
    "random_flip_left_right": {"p": 0.0},
    "random_flip_up_down": {"p": 0.0},
    "random_rotate_90": {"turns": (0,)},
    "random_rotation": {"degrees": 0.0},
    "random_translation": {"translate": 0.0},
    "random_scale": {"scale": (1.0, 1.0)},
    "random_shear": {"degrees": 0.0},
    "random_affine": {},
    "random_perspective": {"distortion": 0.0, "p": 1.0},
    "random_tps": {"strength": 0.0},
    "random_elastic": {"alpha": 0.0},
    "random_pad_and_crop": {"padding": 0},
    "random_crop": {"shape": (SIZE, SIZE)},
    "center_crop": {"shape": (SIZE, SIZE)},
    "random_resized_crop": {"shape": (SIZE, SIZE), "scale": (1.0, 1.0), "ratio": (1.0, 1.0)},
    "random_brightness": {"brightness": 0.0},
    "random_contrast": {"contrast": 0.0},
    "random_saturation": {"saturation": 0.0},
    "random_hue": {"hue": 0.0},
    "random_color_jitter": {},
    "random_gamma": {"gamma": (1.0, 1.0)},
    "random_grayscale": {"p": 0.0},
    "random_channel_shuffle": {"p": 0.0},
    "random_invert": {"p": 0.0},
    "random_posterize": {"p": 0.0},
    "random_solarize": {"p": 0.0},
    "random_equalize": {"p": 0.0},
    "random_autocontrast": {"p": 0.0},
    "random_sharpness": {"sharpness": (1.0, 1.0), "p": 1.0},
    "random_gaussian_blur": {"p": 0.0},
    "random_gaussian_noise": {"sigma": 0.0},
    "random_speckle_noise": {"sigma": 0.0},
    "random_salt_and_pepper": {"amount": 0.0},
    "random_erasing": {"p": 0.0},
    "random_grid_mask": {"p": 0.0},
}

SIBLINGS = {
    *("random_flip_up_down", "random_translation", "random_scale", "random_shear", "center_crop"),
    *("random_contrast", "random_saturation", "random_grayscale", "random_autocontrast"),
    *("random_speckle_noise", "random_cutout"),
}
"""Augmentations that are put together as others are."""

FAMILIES = {
    *("random_affine", "random_flip_left_right", "random_rotate_90", "random_tps", "random_resized_crop"),
    *("random_pad_and_crop", "random_color_jitter", "random_posterize", "random_sharpness", "random_gaussian_blur"),
    *("random_gaussian_noise", "random_erasing"),
}
"""One augmentation of every kind."""


def function(name, options=ALL):
    return P(getattr(augment, name), **options[name])


def as_uint8(image):
    return jnp.round(image * 255).astype(jnp.uint8)
