"""The engine room of sampling, one file per step from a transform to the gradient of the image it reads.

==============================  =======================================================================================
``transforms.py``               where a transform sends points, in [-1, 1]: affine, projective, thin-plate splines
``pixel_matrices.py``           the same for 3x3 matrices in pixels, entry by entry
``interpolation.py``            weights along an axis: ``interpolate_axis``, ``_cubic_weights``, ``apply_padding_mode``
``gather.py``                   the weighted sum of pixels and its gradients as primitives: ``_jvp``, ``_transpose``
``gather_spec.py``              which pixels a point reads
``gather_xla.py``               the sum and its gradients in XLA: ``gather``, ``image_gradient``, ``weight_gradient``
``gather_native.py``            the gradients by the compiled kernels of jaxcnn-native
``antialias.py``                bilinear reading that averages over what an output pixel covers
==============================  =======================================================================================

The public ops are one level up: ``ops/sampling.py``, ``ops/warps.py``, ``ops/crops.py`` and ``ops/remap.py``.
"""
