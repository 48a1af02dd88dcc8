"""Convolutions with fewer multiplications: by Fourier transforms, and Winograd's."""

import numpy as np

from core_torch.parity.right_ports.convolvers import Im2col, Padding, cut, dilated, windows_of

# Winograd's F(2x2, 3x3), Lavin and Gray 2016, equations 7: a tile of 4 x 4 inputs gives 2 x 2 outputs.
INPUT_TRANSFORM = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
KERNEL_TRANSFORM = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
OUTPUT_TRANSFORM = np.array([[1, 1, 1, 0], [0, 1, -1, -1]])
KERNEL, TILE = 3, 2


class Fourier(Im2col):
    """Products of transforms; in NumPy 1 the transforms are in float64, from NumPy 2 on in the images' type."""

    def correlate(self, images: np.ndarray, weight: np.ndarray, *, stride: int, padding: Padding) -> np.ndarray:
        """Transform, multiply by the conjugate, transform back."""
        padded = np.pad(images, ((0, 0), (0, 0), padding, padding))
        side = padded.shape[-1]
        product = np.einsum("ncuv,ocuv->nouv", transform(padded, side), transform(weight, side).conj())
        valid = side - weight.shape[-1] + 1
        return back(product, side, images.dtype)[:, :, :valid:stride, :valid:stride]

    def scatter(self, images: np.ndarray, weight: np.ndarray, *, stride: int, before: int, side: int) -> np.ndarray:
        """Of the images with zeros between the pixels."""
        wide = dilated(images, stride)
        full = wide.shape[-1] + weight.shape[-1] - 1
        product = np.einsum("nouv,ocuv->ncuv", transform(wide, full), transform(weight, full))
        return cut(back(product, full, images.dtype), before=before, side=side)

    def weights(
        self, images: np.ndarray, upstream: np.ndarray, *, kernel: int, stride: int, padding: Padding
    ) -> np.ndarray:
        """Correlate the images with what comes from above."""
        padded = np.pad(images, ((0, 0), (0, 0), padding, padding))
        side = padded.shape[-1]
        product = np.einsum(
            "ncuv,nouv->ocuv", transform(padded, side), transform(dilated(upstream, stride), side).conj()
        )
        return back(product, side, images.dtype)[:, :, :kernel, :kernel]


class Winograd(Im2col):
    """Where the kernel is 3 x 3 and the stride 1; elsewhere, and for weights, as its base."""

    def correlate(self, images: np.ndarray, weight: np.ndarray, *, stride: int, padding: Padding) -> np.ndarray:
        """Transform tiles and kernels, multiply, transform back."""
        if weight.shape[-1] != KERNEL or stride != 1:
            return super().correlate(images, weight, stride=stride, padding=padding)
        kind = images.dtype.type
        height, width = (size + sum(padding) - KERNEL + 1 for size in images.shape[2:])
        spare = (padding[0], padding[1] + TILE)  # the last tile may reach beyond
        tiles = windows_of(images, TILE + KERNEL - 1, stride=TILE, padding=spare)
        left, middle, right = (kind(each) for each in (INPUT_TRANSFORM, KERNEL_TRANSFORM, OUTPUT_TRANSFORM))
        product = np.einsum("nchwuv,ocuv->nohwuv", left @ tiles @ left.T, middle @ weight @ middle.T, optimize=True)
        blocks = (right @ product @ right.T).transpose(0, 1, 2, 4, 3, 5)
        batch, outputs, down, _, across, _ = blocks.shape
        result: np.ndarray = blocks.reshape(batch, outputs, down * TILE, across * TILE)[:, :, :height, :width]
        return result

    def scatter(self, images: np.ndarray, weight: np.ndarray, *, stride: int, before: int, side: int) -> np.ndarray:
        """With stride 1, a convolution by the kernel turned around."""
        if weight.shape[-1] != KERNEL or stride != 1:
            return super().scatter(images, weight, stride=stride, before=before, side=side)
        turned = np.ascontiguousarray(weight[:, :, ::-1, ::-1].transpose(1, 0, 2, 3))
        full = self.correlate(images, turned, stride=1, padding=(KERNEL - 1, KERNEL - 1))
        return cut(full, before=before, side=side)


def transform(images: np.ndarray, side: int) -> np.ndarray:
    """Over both axes, filled up with zeros to `side`."""
    return np.fft.rfft2(images, (side, side))


def back(spectrum: np.ndarray, side: int, kind: np.dtype) -> np.ndarray:
    """The real images behind a spectrum."""
    return np.fft.irfft2(spectrum, (side, side)).astype(kind)
