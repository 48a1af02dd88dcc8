"""Corruption of images in [0, 1], drawn from the generator it is given.

Vincent et al., Stacked Denoising Autoencoders, JMLR 11 (2010), section 3.3: Gaussian, masking and
salt-and-pepper noise, a different draw at each presentation. The patch is the original repository's.
"""

from dataclasses import dataclass

import torch

from core_torch.spec.errors import check_choice, check_number
from core_torch.spec.recipe import CORRUPTIONS


@dataclass(frozen=True)
class Corruption:
    """A way to damage images; call it with images (N, C, H, W) in [0, 1] and a generator on their device.

    kind `gaussian`: adds N(0, level^2), clipped to [0, 1]. `masking`: sets exactly round(level * pixels)
    pixels of each image to 0. `salt-and-pepper`: as many to 0 or 1 by a fair coin. `patch`: a black square
    of area level * H * W (rounded to whole pixels a side) anywhere in the image.
    """

    kind: str = "gaussian"
    level: float = 0.2

    def __post_init__(self) -> None:
        check_choice("corruption", self.kind, CORRUPTIONS)
        check_number("corruption_level", self.level, minimum=0, maximum=1)

    def __call__(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Return a corrupted copy, of the same shape."""
        if self.kind == "gaussian":
            noise = torch.empty_like(images).normal_(0, self.level, generator=generator)
            return noise.add_(images).clamp_(0, 1)
        if self.kind == "patch":
            return images.masked_fill(self._patch(images, generator), 0)
        return self._replace_pixels(images, generator)

    def fixed(self, images: torch.Tensor, *, seed: int) -> torch.Tensor:
        """Corrupt by a seed: the noise is drawn on the CPU, so that it is the same on every device."""
        corrupted = self(images.cpu(), torch.Generator().manual_seed(seed))
        return corrupted.to(images.device)

    def _replace_pixels(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        rows = images.flatten(1)
        count = round(self.level * rows.shape[1])
        ranks = torch.rand(rows.shape, generator=generator, device=images.device)
        chosen = ranks.topk(count).indices  # (N, count): distinct pixels, any set equally likely
        values = torch.zeros(chosen.shape, dtype=images.dtype, device=images.device)
        if self.kind == "salt-and-pepper":
            values.bernoulli_(0.5, generator=generator)
        return rows.scatter(1, chosen, values).view_as(images)

    def _patch(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Draw where each image's square lies, boolean (N, 1, H, W); row and column are independent."""
        (count, _, height, width), device = images.shape, images.device
        inside = []
        for length in (height, width):
            side = round(length * self.level**0.5)
            start = torch.randint(length - side + 1, (count, 1), generator=generator, device=device)
            place = torch.arange(length, device=device)
            inside.append((place >= start) & (place < start + side))
        rows, columns = inside
        patch: torch.Tensor = rows[:, :, None] & columns[:, None, :]
        return patch.unsqueeze(1)
