"""The engines of the convolutions; each file is one step from the public function to an implementation.

==========================  ==========================================================================
``shape.py``                sizes, strides, dilations, padding: what all others are passed
``primitives.py``           a convolution and its two adjoints as primitives: derivatives, ``vmap``, sharding
``ordinary.py``             the ordinary convolution
``ordinary_dispatch.py``    which implementation of it runs where, and how members are looped over
``ordinary_xla.py``         by XLA's convolution
``ordinary_matmul.py``      its adjoints by matrix products, for CPU
``depthwise.py``            the depthwise convolution
``depthwise_dispatch.py``   which implementation of it runs where
``depthwise_stencil.py``    by sums of shifted products, for CPU
``depthwise_xla.py``        by XLA's grouped convolution
``depthwise_native.py``     by the compiled kernels of jaxcnn-native
``xla_layout.py``           axes and sharding in calls of XLA's convolution
==========================  ==========================================================================

Every implementation of a convolution has the functions ``forward``, ``to_input`` and ``to_kernel``.
"""
