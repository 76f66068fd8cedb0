"""What `forcewright config` prints: the annotated config of a command, or its JSON Schema."""

from __future__ import annotations

import json

from forcewright.configs import did_you_mean
from forcewright.errors import InputError
from forcewright.manual.annotated import annotated_config
from forcewright.manual.config_models import CONFIGS
from forcewright.manual.json_schema import config_schema
from forcewright.models import family_of


def config(verb: str, *, model: str | None = None, json_schema: bool = False) -> str:
    """Return everything that may stand in the config of a command, with meanings, types, units and defaults.

    Parameters
    ----------
    verb
        A command that reads a config, such as ``tune``.
    model
        The family whose hyperparameters are shown; ACE by default.
    json_schema
        Return a JSON Schema for editors in place of annotated YAML.

    Raises
    ------
    InputError
        If the command reads no config, or the family is not known.
    """
    name = verb.replace("_", "-")
    if name not in CONFIGS:
        raise InputError(f"{verb!r} is no command with a config; {did_you_mean(name, list(CONFIGS))}", field="verb")
    if model is not None:
        family_of(model)
    if json_schema:
        return json.dumps(config_schema(name), indent=2, ensure_ascii=False) + "\n"
    return annotated_config(name, model)
