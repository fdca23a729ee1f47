"""Variables from the process's environment and a ``.env`` file, as plain text."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

from dotenv import dotenv_values
from dotenv.parser import parse_stream


def read_variables(
    environ: Mapping[str, str], dotenv: Path | None
) -> tuple[dict[str, str], list[str]]:
    """All variables that are not blank, and what is wrong with the file, if anything.

    Variables of ``environ`` win over those of the file ``dotenv``, which need
    not exist.
    """
    merged: dict[str, str | None] = {}
    problems: list[str] = []
    if dotenv is not None:
        merged.update(_read_file(dotenv, problems))
    # A blank variable is not set, so it does not hide the file's either: container tools
    # pass blank ones for everything that is named and has no value.
    merged.update({name: value for name, value in environ.items() if value.strip()})
    return {name: value for name, value in merged.items() if value and value.strip()}, problems


def _read_file(path: Path, problems: list[str]) -> dict[str, str | None]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, IsADirectoryError):  # some name a virtual environment .env
        return {}
    except UnicodeDecodeError:
        problems.append(f"{path} is not UTF-8 text. Save it as UTF-8.")
        return {}
    except OSError as error:
        problems.append(f"{path} cannot be read: {error.strerror}. Allow it, or remove the file.")
        return {}
    bad_lines = [line.original.line for line in parse_stream(io.StringIO(text)) if line.error]
    if bad_lines:
        # dotenv_values alone would log this and go on without those lines.
        where = ", ".join(map(str, bad_lines))
        problems.append(f"{path} cannot be understood at line {where}. Write NAME=value.")
    good = "".join(
        line.original.string for line in parse_stream(io.StringIO(text)) if not line.error
    )
    # No interpolation: a secret may well contain ${...}.
    return dotenv_values(stream=io.StringIO(good), interpolate=False)
