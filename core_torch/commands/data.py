"""`python -m core_torch data prepare|verify`: the files of a published dataset. Needs no framework."""

import argparse

from core_torch.files.downloads import repair
from core_torch.files.outputs import check_file, write_json
from core_torch.files.sources import SOURCES, raw_folder, validation_errors
from core_torch.spec.errors import check_choice


def data(options: argparse.Namespace) -> int:
    """Print a line a file. 0: all are intact; 1: `verify` found one that is not."""
    check_choice("action", options.action, ("prepare", "verify"))
    check_choice("dataset", options.dataset, SOURCES)
    source = SOURCES[options.dataset]
    if options.json is not None:
        check_file("json", options.json)
    folder = raw_folder(source, options.data_root)
    states: dict[str, str] = {}
    if options.action == "prepare":
        repaired = repair(source, folder, dataset=options.dataset)
        states = {name: f"fetched ({was})" for name, was in repaired.items() if was}
    found = validation_errors(source, folder)
    states = {name: reason or states.get(name, "intact") for name, reason in found.items()}
    for name, state in states.items():
        print(f"{name:36} {state}")
    write_json(options.json, states)
    return int(any(found.values()))
