"""Layers the settings: defaults < operator's file < project's file < environment < flags."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from meshclaw.budgets import Budget
from meshclaw.config.presets import BUILT_IN
from meshclaw.config.providers import ProviderReader, built_in, check_url, env_origin
from meshclaw.config.reader import Reader, expand_home
from meshclaw.config.setting import Setting
from meshclaw.config.settings import DEFAULT_MODEL, MODEL, SCALARS, SECTIONS
from meshclaw.config.values import (
    DEFAULT,
    Config,
    KeySource,
    Layer,
    Origin,
    ProviderSettings,
    SandboxSettings,
    suggest,
    unknown_provider,
)
from meshclaw.documents import Node
from meshclaw.errors import Problem, ProblemsError
from meshclaw.policies import Ceiling

KINDS = ("openai-chat", "openai-responses", "anthropic")

_SCALARS = {one.key: one for one in SCALARS}
_TABLES = {one.key.partition(".")[0] for one in SCALARS if "." in one.key}
_TOP = {*SECTIONS, *(one.key.partition(".")[0] for one in SCALARS)}
_SHORT = {"sandbox": "sandbox.use"}
"""`sandbox: none` says the same as `sandbox: {use: none}`."""
_EMPTY = Node("map", {}, 1, 1)


def load_config(
    operator_file: Path | None,
    project_file: Path | None,
    environment: Mapping[str, str],
    flags: Mapping[str, str] | None = None,
    *,
    kinds: Collection[str] = KINDS,
) -> Config:
    """What holds. A file that does not exist sets nothing; `flags` maps settings' keys to text.

    `kinds` are the kinds of provider there are, plugins' included. Raises ProblemsError with everything
    that is wrong in both files, the environment and the flags; KeyError for a flag that is no setting.
    """
    return _Loader(operator_file, project_file, environment, kinds).load(flags or {})


class _Loader:
    def __init__(
        self,
        operator_file: Path | None,
        project_file: Path | None,
        environment: Mapping[str, str],
        kinds: Collection[str],
    ) -> None:
        self._operator_file = operator_file
        self._project_file = project_file
        self._environment = environment
        self._kinds = kinds
        self._home = environment.get("HOME") or None
        self._problems: list[Problem] = []
        self._values: dict[str, Any] = {one.key: one.default for one in SCALARS}
        self._origins: dict[str, Origin] = dict.fromkeys(self._values, DEFAULT)
        self._aliases: dict[str, str] = {}
        self._providers = built_in(environment)
        self._operators: Collection[str] = ()
        self._keys: dict[str, KeySource] = {}
        self._origins.update({f"providers.{name}": DEFAULT for name in self._providers})

    def load(self, flags: Mapping[str, str]) -> Config:
        self._file("operator", self._operator_file)
        self._operators = tuple(self._providers)
        self._file("project", self._project_file)
        self._variables()
        for key, text in flags.items():
            setting = DEFAULT_MODEL if key == DEFAULT_MODEL.key else _SCALARS[key]
            self._say(setting, text, Origin("flag", setting.flag or f"--{key}"))
        self._check_aliases()
        if self._problems:
            raise ProblemsError(self._problems)
        return self._config()

    def _file(self, layer: Layer, path: Path | None) -> None:
        if path is None:
            return
        reader = Reader(layer, path, self._operator_file, self._home, self._problems)
        root = reader.read()
        for key, node in root.items():
            if key not in _TOP:
                reader.unknown_key(root, key, _TOP)
            elif layer == "project" and SECTIONS.get(key) == "operator":
                reader.not_operators(root, key, key)
            elif key in _TABLES:
                self._table(reader, root, key, node)
            elif key not in SECTIONS:
                self._scalar(reader, root, key, _SCALARS[key], node)
        self._sections(reader, root)

    def _sections(self, reader: Reader, root: Node) -> None:
        """Keys before providers: a project's provider may have one that the operator bound to its host."""

        def table(name: str) -> Node:
            node = root.get(name)
            return _EMPTY if node is None or not reader.mapping(node, name) else node

        providers = ProviderReader(reader, self._kinds, self._environment)
        found: dict[str, ProviderSettings]
        if reader.layer == "operator":
            self._keys = providers.keys(table("keys"))
            found = providers.operators(table("providers"))
        else:
            found = providers.projects(table("providers"), self._operators, self._keys)
        for name, one in found.items():
            self._providers[name] = one
            line, column = table("providers").key_place(name)
            self._origins[f"providers.{name}"] = Origin(reader.layer, str(reader.path), line, column)
        for alias, node in table("models").items():
            if "/" in alias or not alias:
                reader.wrong_key(
                    table("models"), alias, f"'{alias}' cannot be an alias", "leave out the slash"
                )
                continue
            good, model = reader.scalar(node, MODEL)
            if good:
                self._aliases[alias] = model
                self._origins[f"models.{alias}"] = reader.origin(node)

    def _table(self, reader: Reader, root: Node, prefix: str, node: Node) -> None:
        if prefix in _SHORT and node.kind == "scalar":
            self._scalar(reader, root, prefix, _SCALARS[_SHORT[prefix]], node)
            return
        if not reader.mapping(node, prefix):
            return
        for key, one in node.items():
            setting = _SCALARS.get(f"{prefix}.{key}")
            if setting is None:
                names = [name.partition(".")[2] for name in _SCALARS if name.startswith(f"{prefix}.")]
                reader.unknown_key(node, key, names)
            else:
                self._scalar(reader, node, key, setting, one)

    def _scalar(self, reader: Reader, table: Node, key: str, setting: Setting, node: Node) -> None:
        if reader.layer == "project" and setting.by == "operator":
            reader.not_operators(table, key, setting.key)
            return
        if reader.layer == "operator" and setting.by == "project":
            reader.wrong_key(table, key, f"'{key}' belongs to a project", "move it to its meshclaw.yaml")
            return
        good, value = reader.scalar(node, setting)
        if good and setting.kind == "path":
            place = reader.beneath if reader.layer == "project" else reader.file_path
            value = place(node, value)
            good = value is not None
        if good and reader.layer == "project" and setting.by == "narrower" and self._widens(setting, value):
            limit = setting.show(self._values[setting.key])
            where = self._operator_file or "the operator's settings"
            reader.wrong(
                node,
                f"{setting.key}: '{node.text}' is wider than the operator's limit of {limit}",
                f"only the operator's settings may widen a limit: move it to {where}",
            )
        elif good:
            self._values[setting.key] = value
            self._origins[setting.key] = reader.origin(node)

    def _widens(self, setting: Setting, value: Any) -> bool:
        limit = self._values[setting.key]
        return limit is not None and (value is None or value > limit)

    def _variables(self) -> None:
        for setting in (DEFAULT_MODEL, *SCALARS):
            text = self._environment.get(setting.env) if setting.env else None
            if setting.env and text:
                self._say(setting, text, Origin("environment", setting.env))
        for name in BUILT_IN:
            origin = env_origin(name, self._environment)
            complaint = check_url(self._providers[name].base_url or "") if origin else None
            if origin and complaint:
                self._problems.append(origin.problem(complaint))
            elif origin:
                self._origins[f"providers.{name}"] = origin

    def _say(self, setting: Setting, text: str, origin: Origin) -> None:
        """What the environment or a flag says: the operator's word, so it may widen."""
        try:
            value = setting.parse(text)
        except ValueError as error:
            self._problems.append(origin.problem(str(error)))
            return
        self._origins[setting.key] = origin
        if setting is DEFAULT_MODEL:
            self._aliases["default"] = value
            return
        if setting.kind == "path":
            value = expand_home(value, self._home)
            if value is None:
                self._problems.append(origin.problem(f"'{text}' cannot be resolved: HOME is not set"))
        self._values[setting.key] = value

    def _check_aliases(self) -> None:
        for alias, model in self._aliases.items():
            origin = self._origins[f"models.{alias}"]
            provider, slash, model_id = model.partition("/")
            if not slash:
                if model not in self._aliases:
                    hint = f"{suggest(model, self._aliases)}; or write provider/model-id"
                    self._problems.append(origin.problem(f"unknown model '{model}'", hint))
                elif self._circles(alias):
                    self._problems.append(origin.problem(f"alias '{alias}' leads back to itself"))
            elif not provider or not model_id:
                self._problems.append(
                    origin.problem(f"'{model}' is not a model", "write provider/model-id")
                )
            elif provider not in self._providers or (
                origin.layer == "operator" and provider not in self._operators
            ):
                message, hint = unknown_provider(provider, self._providers, self._operator_file)
                self._problems.append(origin.problem(message, hint))

    def _circles(self, alias: str) -> bool:
        seen = [alias]
        while (following := self._aliases.get(seen[-1])) is not None:
            if following in seen:
                return following == alias
            seen.append(following)
        return False

    def _read_paths(self) -> tuple[Path, ...]:
        """Paths of the operator's file: `~` is the home, a relative one starts from the file's folder."""
        folder = self._operator_file.parent if self._operator_file else Path()
        paths = (expand_home(text, self._home) for text in self._values["sandbox.read"] or ())
        return tuple(folder / path for path in paths if path is not None)

    def _key_files(self) -> tuple[Path, ...]:
        sources = [*(one.key for one in self._providers.values()), *self._keys.values()]
        return tuple(dict.fromkeys(one.file for one in sources if one and one.file))

    def _config(self) -> Config:
        values = self._values
        root = self._project_file.parent if self._project_file else Path()
        return Config(
            models=dict(self._aliases),
            providers=dict(self._providers),
            budget=Budget(
                usd=values["budget.usd"],
                tokens=values["budget.tokens"],
                steps=values["budget.steps"],
                time=values["budget.time"],
                usd_stated=self._origins["budget.usd"] is not DEFAULT,
            ),
            batch=Budget(
                values["batch.usd"], None, None, None, usd_stated=self._origins["batch.usd"] is not DEFAULT
            ),
            ledger=values["ledger"],
            data_dir=values["data_dir"],
            retries=values["retries"],
            timeout=values["timeout"],
            max_output=values["max_output"],
            effort=values["effort"],
            tasks=values["tasks"] or root / "tasks",
            policy=Ceiling(
                write=values["policy.write"],
                run=values["policy.run"],
                network=values["policy.network"],
                propose=values["policy.propose"],
                accept_risk=values["policy.accept_risk"],
                source=str(self._operator_file or "the operator's settings"),
            ),
            sandbox=SandboxSettings(
                use=values["sandbox.use"],
                bubblewrap=values["sandbox.bubblewrap"],
                read=self._read_paths(),
                scratch=values["sandbox.scratch"] or (),
                memory=values["sandbox.memory"],
                processes=values["sandbox.processes"],
                cpu=values["sandbox.cpu"],
                file_size=values["sandbox.file_size"],
            ),
            operator_file=self._operator_file,
            key_files=self._key_files(),
            origins=dict(self._origins),
        )
