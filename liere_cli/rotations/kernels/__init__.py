"""C that the system's compiler makes for the processor at hand, when first asked for.

Each ``NAME.c`` has a ``NAME.py`` that calls it on tensors, on a CPU, in float32 or float64; its
``NAME_for(tensors)`` is None where torch's own operations are to do the same: on another device, in
another dtype or layout, or where no compiler answers.
"""
