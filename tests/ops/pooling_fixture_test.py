"""Pooling against committed results of PyTorch, where PyTorch is not installed.

``python -m tests.ops.pooling_fixture_test`` writes the file anew where it is.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import ops
from tests.support.paths import FIXTURES
from tests.support.selection import daily
from tests.support.untyped import untyped

FIXTURE = FIXTURES / "pooling.npz"
CASES = {
    # window, strides, padding, ceil_mode, count_include_pad
    "2": (2, 2, 0, False, False),
    "3-2-pad-ceil": (3, 2, 1, True, False),
    "3-2-pad-count": (3, 2, 1, True, True),
    "5-1-pad": (5, 1, 2, False, False),
    "gaps": (2, 3, 1, False, True),
}


def arrays():
    rng = np.random.default_rng(7)
    return rng.integers(0, 6, (2, 9, 8, 2)).astype(np.float32), rng  # few values: ties are common


@pytest.mark.parametrize("case", daily(CASES, ["3-2-pad-ceil"]))  # the others equal PyTorch itself
@pytest.mark.parametrize("kind", ["max", "avg"])
def test_equals_the_committed_results_of_pytorch(kind, case):
    window, strides, padding, ceil_mode, count = CASES[case]
    stored = np.load(FIXTURE)
    options = {"strides": strides, "padding": padding, "ceil_mode": ceil_mode}
    if kind == "avg":
        options["count_include_pad"] = count
    pool = ops.max_pool if kind == "max" else ops.avg_pool
    value, pullback = jax.vjp(lambda x: pool(x, window, **options), jnp.asarray(arrays()[0]))
    (gradient,) = pullback(jnp.asarray(stored[f"{kind}-{case}-cotangent"]))
    np.testing.assert_allclose(value, stored[f"{kind}-{case}-value"], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(gradient, stored[f"{kind}-{case}-gradient"], rtol=1e-5, atol=1e-5)


def write_fixture():
    import torch

    image, rng = arrays()
    stored = {"torch": torch.__version__}
    last = (0, 2, 3, 1)
    for case, (window, strides, padding, ceil_mode, count) in CASES.items():
        for kind in ("max", "avg"):
            x = torch.tensor(image).permute(0, 3, 1, 2).contiguous().requires_grad_()
            pool = torch.nn.functional.max_pool2d if kind == "max" else torch.nn.functional.avg_pool2d
            extra = {"count_include_pad": count} if kind == "avg" else {}
            y = untyped(pool)(x, window, strides, padding, ceil_mode=ceil_mode, **extra)
            cotangent = rng.normal(size=y.permute(last).shape).astype(np.float32)
            y.backward(torch.tensor(cotangent).permute(0, 3, 1, 2))
            parts = {
                "value": y.detach().permute(last),
                "gradient": untyped(x.grad).permute(last),
                "cotangent": cotangent,
            }
            stored |= {f"{kind}-{case}-{name}": np.asarray(part) for name, part in parts.items()}
    np.savez_compressed(FIXTURE, **untyped(stored))


if __name__ == "__main__":
    write_fixture()
