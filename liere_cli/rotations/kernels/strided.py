"""Tensors as C sees them."""

import ctypes

from torch import Tensor


class Strided(ctypes.Structure):
    """[B, N, S, H] with strides, and channels side by side: ``tensor`` in blocks.c, ``gradient`` in
    planes.c.
    """

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("batch", ctypes.c_ssize_t),
        ("head", ctypes.c_ssize_t),
        ("token", ctypes.c_ssize_t),
    )

    def point_to(self, x: Tensor, tokens: int) -> None:
        """At the last tokens of a tensor, which must live on."""
        self.batch, self.head, self.token, _ = x.stride()
        self.data = x.data_ptr() + (x.shape[2] - tokens) * self.token * x.element_size()
