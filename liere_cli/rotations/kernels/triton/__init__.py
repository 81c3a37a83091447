"""Kernels for GPUs in Triton, the counterparts of the C kernels.

Each operation has a module that launches it, which imports without Triton and registers a custom
operator of torch, and one with suffix ``_device`` that Triton compiles, imported at the first
launch. With the environment variable TRITON_INTERPRET=1 they run on CPU tensors, for tests.
"""
