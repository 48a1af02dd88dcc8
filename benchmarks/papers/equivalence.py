"""Whether two ways to the same figure give the same figure: what pairs of runs with equal seeds can prove."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, product
from random import Random
from statistics import fmean, stdev

LEVEL = 0.05  # of either one-sided test; Schuirmann 1987
FEWEST_PAIRS = 10
MOST_PAIRS = 16  # whose 2^n signs are counted one by one; of more, 2^16 random ones are drawn


@dataclass(frozen=True)
class Equivalence:
    """A claim about two rows: that `metric` differs by less than `margin`, a share of the reference's mean.

    Proved if two one-sided tests say so of the centre of the differences, and every single one is that small: the
    tests count on differences that scatter evenly about their centre, which one seed in ten that goes astray does not.
    """

    metric: str
    row: str
    reference: str
    margin: float

    @property
    def rows(self) -> tuple[str, str]:
        """Both."""
        return self.row, self.reference

    def told(self, pairs: Iterable[Mapping[str, float]]) -> str:
        """What one {row: value} a seed says about it."""
        values = [(pair[self.row], pair[self.reference]) for pair in pairs]
        scale = fmean(reference for _, reference in values)
        if not scale:
            return f"{self.metric}: {self.reference}: 0 on average, of which nothing is a share."
        differences = [(value - reference) / scale for value, reference in values]
        about, seeds = f"{self.metric}: {self.row} less {self.reference}: ", _seeds(len(differences))
        if not any(differences):
            return f"{about}0, the same figures to the bit, over {seeds}."
        largest = max(map(abs, differences))
        about += f"{fmean(differences):+z.2%} on average, {100 * largest:.2g}% at most, over {seeds}"
        if len(differences) < FEWEST_PAIRS:
            return f"{about}: too few to test."
        p = equivalence_p_value(differences, margin=self.margin)
        spread = stdev(reference for _, reference in values) / scale
        verdict = "equivalent" if p <= LEVEL and largest <= self.margin else "not proved equivalent"
        least = ", the least that so few pairs allow" if p == 2.0 ** -len(differences) else ""
        return (
            f"{about}, where seeds differ by {spread:.2%} (sd); two one-sided tests within {self.margin:.0%}: "
            f"p = {p:.2g}{least}, {verdict}."
        )


def _seeds(count: int) -> str:
    return "1 seed" if count == 1 else f"{count} seeds"


def equivalence_p_value(differences: Sequence[float], *, margin: float) -> float:
    """p of two one-sided tests (Schuirmann 1987) that the differences centre within +-`margin`: the larger one."""
    below = sign_flip_p_value([difference - margin for difference in differences])
    return max(below, sign_flip_p_value([-difference - margin for difference in differences]))


def sign_flip_p_value(values: Sequence[float]) -> float:
    """p of the hypothesis that values scatter evenly about 0, or about more, against less: Fisher's test, exact for
    `MOST_PAIRS` values or fewer.

    Of all ways to choose their signs, each as likely as that observed, the share with a sum as small. At least 2^-n
    of those that are counted: of ten values 0.001. No normal distribution is assumed.
    """
    observed = sum(values)
    ways: Iterable[Sequence[int]] = product((1, -1), repeat=len(values))
    if len(values) > MOST_PAIRS:
        chance = Random(0)
        drawn = (chance.choices((1, -1), k=len(values)) for _ in range(2**MOST_PAIRS))
        ways = chain([[1] * len(values)], drawn)  # what was observed is one of them
    sums = [sum(sign * value for sign, value in zip(signs, values)) for signs in ways]
    return sum(total <= observed for total in sums) / len(sums)
