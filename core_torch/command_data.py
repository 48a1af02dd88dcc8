"""`python -m core_torch data prepare|verify`: the files of a published dataset. Needs no framework."""

import argparse

from core_torch.contract.errors import check_choice
from core_torch.contract.sources import PUBLISHED, faults, raw_folder, repair


def data(options: argparse.Namespace) -> int:
    """Print a line a file. 0: all are intact; 1: `verify` found one that is not."""
    check_choice("action", options.action, ("prepare", "verify"))
    check_choice("dataset", options.dataset, PUBLISHED)
    source = PUBLISHED[options.dataset]
    folder = raw_folder(source, options.data_root)
    if options.action == "prepare":
        for name, was in repair(source, folder, dataset=options.dataset).items():
            print(f"{name:36} {f'fetched ({was})' if was else 'intact'}")
    found = faults(source, folder)
    if options.action == "verify":
        for name, reason in found.items():
            print(f"{name:36} {reason or 'intact'}")
    return int(any(found.values()))
