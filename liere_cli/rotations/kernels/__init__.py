"""C code that the system's compiler builds for this processor when it is first needed.

Each ``NAME.c`` has a module ``NAME.py`` that calls it on CPU tensors in float32 or float64. Its
``NAME_kernel(tensors)`` is None where torch's own operations must do the same: on another device,
in another dtype or layout, or without a working compiler.
"""
