"""Right ports: the legitimate ways to compute the same thing, none of which the judge may refuse."""
