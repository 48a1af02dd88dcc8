"""Sample: what one timed run took."""

from dataclasses import dataclass

CLOCKS = ("cpu", "wall")


@dataclass(frozen=True)
class Sample:
    """One run: wall seconds, processor seconds, images."""

    wall: float
    cpu: float
    images: int

    def per_image(self, clock: str) -> float:
        """Return seconds an image, by the `wall` or the `cpu` clock."""
        return (self.wall if clock == "wall" else self.cpu) / self.images
