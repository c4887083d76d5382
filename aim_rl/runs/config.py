"""A command's configuration: from its flags, and from the config.json of the run that `--resume` continues."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast, get_args, get_origin, get_type_hints

import tyro
from typeguard import TypeCheckError, check_type

from envs.backend import Backend
from envs.errors import UserError

BackendOptions = Annotated[Backend, tyro.conf.arg(name="")]
"""A field of this type gives a command the flags --backend, --robotwin-root and --robotwin-python."""
Config = TypeVar("Config")
Renamed = Mapping[str, str]  # old name -> new name
PROGRAMS = ("robotwin_root", "robotwin_python")  # fields of `Backend` that name programs


def parse(
    config_class: type[Config],
    description: str | None,
    arguments: Sequence[str] | None = None,
    fixed: Sequence[str] = (),
    renamed_flags: Renamed | None = None,
    renamed_keys: Renamed | None = None,
) -> Config:
    """The configuration of a command line; `--resume RUN` starts from the run's own, which other flags may change.

    Args:
        config_class: a dataclass, with a field `resume` if the command can resume a run.
        description: of the command, for `--help`.
        arguments: instead of the command line.
        fixed: fields that a resumed run cannot change ("steps", "rollout.group_size"): what was trained depends on
            them.
        renamed_flags: flags of the version before ({"--group": "--group-size"}); they work, with a note on stderr.
        renamed_keys: keys of an older config.json ({"group": "rollout.group_size"}).

    Raises:
        UserError: a value is of the wrong type or not finite, a fixed field is changed, or the run cannot be read.
    """
    arguments = list(_with_new_names(sys.argv[1:] if arguments is None else arguments, renamed_flags or {}))
    first_look = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first_look.add_argument("--resume", type=Path)
    run = first_look.parse_known_args(arguments)[0].resume
    default: Any = None if run is None else load_config(config_class, run, renamed_keys)
    config = tyro.cli(config_class, args=arguments, default=default, description=description)
    check_flags(config)
    for name in fixed if run is not None else ():
        if attrgetter(name)(config) != (before := attrgetter(name)(default)):
            flag = f"--{name.replace('_', '-')}"
            raise UserError(f"{run} was started with {flag} {before}, which a resumed run cannot change; leave it out")
    return config


def _with_new_names(arguments: Sequence[str], renamed: Renamed) -> Iterator[str]:
    for argument in arguments:
        flag, equals, value = argument.partition("=")
        new = renamed.get(flag.replace("_", "-"))
        if new is None:
            yield argument
        else:
            print(f"{flag} is now {new}; the old name will go in the next version", file=sys.stderr)
            yield f"{new}{equals}{value}"


def load_config(config_class: type[Config], run: Path, renamed_keys: Renamed | None = None) -> Config:
    """The configuration that `new_run` wrote, without the programs it names: the folder may be a stranger's.

    Raises:
        UserError: there is none, it is of another command, or a link in the folder leads out of it.
    """
    refuse_links(run)
    try:
        values = json.loads((run / "config.json").read_text())
        del values["command"]
        for name, kind in (("history", list), ("environment", dict)):
            if not isinstance(values.pop(name, kind()), kind):
                raise TypeError(f"{name} is damaged")
        for old, new in (renamed_keys or {}).items():
            with suppress(KeyError):
                _put(values, new, _take(values, old))
        config = _as_written(config_class, values)
        check_values(config)
        return config
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"{run} is not the folder of a run: it has no config.json") from error
    except OSError as error:
        raise UserError(f"{run}/config.json cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UserError(f"{run}/config.json is not of a run of this command ({error})") from error


def refuse_links(run: Path) -> None:
    """Raises UserError if the folder of a run, which may be a stranger's, holds a symbolic link."""
    link = next((path for path in run.rglob("*") if path.is_symlink()), None)
    if link is not None:
        raise UserError(f"{link} is a link, and its target may lie outside; replace it by the file itself")


def _put(values: dict[str, Any], key: str, value: Any) -> None:
    """Sets the dotted `key`."""
    section, _, rest = key.partition(".")
    if rest:
        _put(values.setdefault(section, {}), rest, value)
    else:
        values[section] = value


def _take(values: dict[str, Any], key: str) -> Any:
    """Removes the dotted `key`, and the sections it leaves empty; returns its value. Raises KeyError."""
    section, _, rest = key.partition(".")
    if not rest:
        return values.pop(section)
    value = _take(values[section], rest)
    if not values[section]:
        del values[section]
    return value


def _as_written(hint: Any, value: Any) -> Any:
    """A value of JSON as the type it was written from: a path, a tuple, a dataclass."""
    if value is None:
        return None
    if dataclasses.is_dataclass(hint):
        hints = get_type_hints(hint)
        ignored = PROGRAMS if hint is Backend else ()
        parts = {key: _as_written(hints[key], part) for key, part in value.items() if key not in ignored}
        return cast(Any, hint)(**parts)
    if Path in (hint, *get_args(hint)):
        return Path(value)
    return tuple(value) if get_origin(hint) is tuple else value


def check_flags(config: Any) -> None:
    """As `check_values`, but raises UserError that names the flag."""
    try:
        check_values(config)
    except ValueError as error:
        raise UserError(f"--{str(error).replace('_', '-')}; give another value") from error


def check_values(config: Any) -> None:
    """Checks the fields of a configuration and of its sections.

    Raises:
        ValueError: a field is not of its declared type, or a number is not finite.
    """
    hints = get_type_hints(type(config))
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            check_values(value)
        try:
            check_type(value, hints[field.name])
        except TypeCheckError as error:
            raise ValueError(f"{field.name} cannot be {value!r:.40}") from error
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{field.name} cannot be {value}")
