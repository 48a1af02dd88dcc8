"""A YAML file of options, looked at before LightningCLI reads it."""

from pathlib import Path
from typing import Any

from core_torch.files.safe_reading import read_regular
from core_torch.spec.errors import ConfigError

LARGEST_CONFIG = 1 << 20  # bytes
DEEPEST = 50  # tables in tables


def check_config(path: str) -> None:
    """`ConfigError` for a file that is not YAML, that gives a name twice, of which the parser would take the last, or
    that repeats parts of itself by aliases, ten lines of which can stand for more than a memory holds.
    """
    import yaml

    try:
        content = read_regular(Path(path), largest=LARGEST_CONFIG)
        depth = 0
        for event in yaml.parse(content):
            if isinstance(event, yaml.AliasEvent):
                raise ConfigError(f"config: {path} repeats a part of itself by an alias, allowed: it written out")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:  # far deeper, it would take the parser minutes
                raise ConfigError(f"config: {path} is nested more than {DEEPEST} deep, allowed: less")
        repeated = _repeated(yaml.compose(content))
    except OSError as error:
        raise ConfigError(f"config: {path} cannot be read ({error.strerror}), allowed: a YAML file") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"config: {path} is not YAML ({reason}), allowed: a YAML file") from error
    if repeated is not None:
        raise ConfigError(f"config: {path} gives {repeated} twice, allowed: once")


def _repeated(node: Any) -> str | None:
    """A name that stands twice in one table, however deep."""
    import yaml

    parts = node.value if isinstance(node, yaml.CollectionNode) else []
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for name, _ in parts:
            if str(name.value) in seen:
                return str(name.value)
            seen.add(str(name.value))
        parts = [value for _, value in parts]
    return next(filter(None, map(_repeated, parts)), None)
