"""Algorithms for a convolution: each computes the same three linear maps.

correlate   (N, C, H, W), (O, C, k, k) -> (N, O, H', W')
scatter     (N, O, h, w), (O, C, k, k) -> (N, C, side, side), the adjoint in the images
weights     (N, C, H, W), (N, O, H', W') -> (O, C, k, k), the adjoint in the weight
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from core_torch.parity.right_ports.arithmetic import Arithmetic

Padding = tuple[int, int]


class Im2col:
    """Windows as rows of a matrix, then one matrix product."""

    def __init__(self, arithmetic: Arithmetic) -> None:
        self.arithmetic = arithmetic

    def correlate(self, images: np.ndarray, weight: np.ndarray, *, stride: int, padding: Padding) -> np.ndarray:
        """Weighted sum of every window."""
        rows, (height, width) = self.windows(images, weight.shape[-1], stride=stride, padding=padding)
        found = self.arithmetic.product(rows, self.flat(weight).T)
        return found.reshape(len(images), height, width, len(weight)).transpose(0, 3, 1, 2)

    def scatter(self, images: np.ndarray, weight: np.ndarray, *, stride: int, before: int, side: int) -> np.ndarray:
        """Place a kernel at every pixel; of the sum, `side` pixels from `before` on."""
        batch, _, height, width = images.shape
        outputs, kernel = weight.shape[1], weight.shape[-1]
        kernels = self.arithmetic.product(pixels(images), weight.reshape(len(weight), -1))
        placed = kernels.reshape(batch, height, width, outputs, kernel, kernel)
        full = np.zeros((batch, outputs, (height - 1) * stride + kernel, (width - 1) * stride + kernel), images.dtype)
        for row in range(kernel):
            for column in range(kernel):
                at = shifted(row, column, stride=stride, height=height, width=width)
                full[at] += placed[..., row, column].transpose(0, 3, 1, 2)
        return cut(full, before=before, side=side)

    def weights(
        self, images: np.ndarray, upstream: np.ndarray, *, kernel: int, stride: int, padding: Padding
    ) -> np.ndarray:
        """Sum over the batch and over all positions."""
        rows, _ = self.windows(images, kernel, stride=stride, padding=padding)
        return self.folded(self.arithmetic.product(pixels(upstream).T, rows), images.shape[1], kernel)

    def windows(
        self, images: np.ndarray, kernel: int, *, stride: int, padding: Padding
    ) -> tuple[np.ndarray, tuple[int, int]]:
        """((N H' W', C k k), (H', W'))."""
        views = windows_of(images, kernel, stride=stride, padding=padding)
        ordered = views.transpose(0, 2, 3, 1, 4, 5)
        return ordered.reshape(-1, images.shape[1] * kernel * kernel), (views.shape[2], views.shape[3])

    def flat(self, weight: np.ndarray) -> np.ndarray:
        """(O, C k k), in the order of `windows`."""
        return weight.reshape(len(weight), -1)

    def folded(self, flat: np.ndarray, channels: int, kernel: int) -> np.ndarray:
        """Undo `flat`."""
        return flat.reshape(len(flat), channels, kernel, kernel)


class ChannelsLast(Im2col):
    """The same with channels innermost, as (N, H, W, C) images have them."""

    def windows(
        self, images: np.ndarray, kernel: int, *, stride: int, padding: Padding
    ) -> tuple[np.ndarray, tuple[int, int]]:
        """((N H' W', k k C), (H', W'))."""
        views = windows_of(images, kernel, stride=stride, padding=padding)
        ordered = views.transpose(0, 2, 3, 4, 5, 1)
        return ordered.reshape(-1, images.shape[1] * kernel * kernel), (views.shape[2], views.shape[3])

    def flat(self, weight: np.ndarray) -> np.ndarray:
        """(O, k k C)."""
        return weight.transpose(0, 2, 3, 1).reshape(len(weight), -1)

    def folded(self, flat: np.ndarray, channels: int, kernel: int) -> np.ndarray:
        """Undo `flat`."""
        return flat.reshape(len(flat), kernel, kernel, channels).transpose(0, 3, 1, 2)


class Shifts(Im2col):
    """A matrix product for each of the kernel's positions, added up."""

    def correlate(self, images: np.ndarray, weight: np.ndarray, *, stride: int, padding: Padding) -> np.ndarray:
        """Sum of shifted images."""
        views = windows_of(images, weight.shape[-1], stride=stride, padding=padding)
        found = sum(
            self.arithmetic.product(pixels(views[..., row, column]), weight[:, :, row, column].T)
            for row in range(weight.shape[-1])
            for column in range(weight.shape[-1])
        )
        return np.asarray(found).reshape(len(images), *views.shape[2:4], len(weight)).transpose(0, 3, 1, 2)

    def weights(
        self, images: np.ndarray, upstream: np.ndarray, *, kernel: int, stride: int, padding: Padding
    ) -> np.ndarray:
        """One product for each position of the kernel."""
        views = windows_of(images, kernel, stride=stride, padding=padding)
        found = np.zeros((upstream.shape[1], images.shape[1], kernel, kernel), images.dtype)
        for row in range(kernel):
            for column in range(kernel):
                product = self.arithmetic.product(pixels(upstream).T, pixels(views[..., row, column]))
                found[:, :, row, column] = product
        return found


class Dilated(Im2col):
    """A transposed convolution as a convolution: zeros between the pixels, the kernel turned around."""

    def scatter(self, images: np.ndarray, weight: np.ndarray, *, stride: int, before: int, side: int) -> np.ndarray:
        """By way of `correlate`."""
        kernel = weight.shape[-1]
        turned = weight[:, :, ::-1, ::-1].transpose(1, 0, 2, 3)
        full = self.correlate(dilated(images, stride), turned, stride=1, padding=(kernel - 1, kernel - 1))
        return cut(full, before=before, side=side)


class PerImage(Im2col):
    """One image after the other."""

    def correlate(self, images: np.ndarray, weight: np.ndarray, *, stride: int, padding: Padding) -> np.ndarray:
        """Of each image."""
        found = [
            super(PerImage, self).correlate(image[None], weight, stride=stride, padding=padding) for image in images
        ]
        return np.concatenate(found)

    def weights(
        self, images: np.ndarray, upstream: np.ndarray, *, kernel: int, stride: int, padding: Padding
    ) -> np.ndarray:
        """Of each image, added up."""
        found = [
            super(PerImage, self).weights(image[None], above[None], kernel=kernel, stride=stride, padding=padding)
            for image, above in zip(images, upstream)
        ]
        result: np.ndarray = np.add.reduce(found)
        return result


def windows_of(images: np.ndarray, kernel: int, *, stride: int, padding: Padding) -> np.ndarray:
    """(N, C, H', W', k, k), a view."""
    padded = np.pad(images, ((0, 0), (0, 0), padding, padding))
    return sliding_window_view(padded, (kernel, kernel), axis=(2, 3))[:, :, ::stride, ::stride]


def pixels(images: np.ndarray) -> np.ndarray:
    """(N, C, H, W) -> (N H W, C)."""
    return images.transpose(0, 2, 3, 1).reshape(-1, images.shape[1])


def shifted(row: int, column: int, *, stride: int, height: int, width: int) -> tuple[slice, slice, slice, slice]:
    """Where that element of a kernel lands, for all of height x width pixels."""
    everything = slice(None)
    rows = slice(row, row + (height - 1) * stride + 1, stride)
    return everything, everything, rows, slice(column, column + (width - 1) * stride + 1, stride)


def dilated(images: np.ndarray, stride: int) -> np.ndarray:
    """With stride - 1 zeros between pixels."""
    batch, channels, height, width = images.shape
    wide = np.zeros((batch, channels, (height - 1) * stride + 1, (width - 1) * stride + 1), images.dtype)
    wide[:, :, ::stride, ::stride] = images
    return wide


def cut(full: np.ndarray, *, before: int, side: int) -> np.ndarray:
    """`side` pixels of both axes from `before` on; zeros where there are fewer."""
    missing = max(0, before + side - full.shape[-1])
    whole = np.pad(full, ((0, 0), (0, 0), (0, missing), (0, missing)))
    return whole[:, :, before : before + side, before : before + side]
