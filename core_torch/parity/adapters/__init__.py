"""Turn a model of some framework into a `Candidate`: one framework a file."""
