"""Tools by name: what the model is told of each, and how its arguments are read.

The schema stays inside the subset that Vapi's API description lists (type, properties, required, enum, description,
pattern, items). What the subset cannot say, such as bounds and unknown arguments, is enforced when arguments arrive.
"""

import importlib
import pkgutil
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, get_args, get_origin, get_type_hints

import attrs
import msgspec

import tools
from db.door import Work
from db.table import import_own
from runtime.errors import SettingsError

_JSON_TYPES: Final[Mapping[type, str]] = {str: "string", int: "integer", float: "number", bool: "boolean"}
NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")  # of a function, as OpenAI's API takes it
_NOUNS: Final[Mapping[str, str]] = {
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
}


class BadArguments(Exception):
    """The model called a tool wrongly. `line` names the argument and what is expected; it is meant for the model."""

    def __init__(self, line: str) -> None:
        self.line = line
        super().__init__(line)


class UnknownTool(Exception):
    """No tool has that name. `line` is meant for the model."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        self.name = name
        self.line = f"There is no such tool; the tools are {', '.join(known)}."
        super().__init__(self.line)


class BadTools(SettingsError):
    """A module of tools/ does not hold what it should. One line that names it, and what would be right."""


@attrs.frozen
class Tool:
    """One tool. `arguments` is an attrs class whose fields carry msgspec.Meta; `run` takes an instance of it.

    `run` runs in one transaction, returns a JSON-able object, and raises Refusal to say no.
    `for_anybody`: it may be used before the caller is verified, and sees no customer's rows then. `personal`: the
    arguments, and the fields of what it returns, that are masked wherever they are shown, beside those in
    runtime/masking.py and all arguments that are free text.
    Raises BadTools when a model could not be told of it.
    """

    name: str
    description: str
    arguments: type[Any]
    run: Callable[[Work, Any], Awaitable[Any]]
    for_anybody: bool = False
    personal: tuple[str, ...] = ()

    def __attrs_post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise BadTools(f"tool {self.name!r}: a name is 1 to 64 letters, digits, _ and -")
        if not attrs.has(self.arguments):
            raise BadTools(f"tool {self.name}: its arguments must be an attrs class, with a field for each")
        for name, kind in self._kinds().items():
            try:
                _schema(kind)
            except KeyError:
                taken = "text (str), int, float, bool, a Literal of texts, or a list of one of these"
                raise BadTools(f"tool {self.name}: a model cannot be asked for {name}; it may be {taken}") from None

    def parameters(self) -> dict[str, Any]:
        """The JSON schema of the arguments, a new dict each time."""
        fields = attrs.fields_dict(self.arguments)
        return {
            "type": "object",
            "properties": {name: _schema(kind) for name, kind in self._kinds().items()},
            "required": [name for name, field in fields.items() if field.default is attrs.NOTHING],
        }

    def parse(self, arguments: Mapping[str, Any]) -> Any:
        """An instance of the arguments class. A number sent as text is taken as one. Raises BadArguments.

        A null counts as left out where the argument may be left out.
        """
        kinds = self._kinds()
        for name in arguments:
            if name not in kinds:
                raise BadArguments(f"{self.name} takes no such argument; it takes {', '.join(kinds) or 'none'}.")
        required = self.parameters()["required"]
        values = {
            name: self._value(name, kinds[name], value)
            for name, value in arguments.items()
            if value is not None or name in required  # models write null for what they leave out
        }
        for name in required:
            if name not in values:
                raise BadArguments(f"{self.name} needs the argument {name}: {_expectation(kinds[name])}.")
        return self.arguments(**values)

    def free_texts(self) -> tuple[str, ...]:
        """The arguments that may hold anything somebody has said: texts without a pattern or a choice, or lists of
        such."""
        return tuple(name for name, kind in self._kinds().items() if _is_free_text(_schema(kind)))

    def _kinds(self) -> dict[str, Any]:
        hints = get_type_hints(self.arguments, include_extras=True)
        return {name: hints[name] for name in attrs.fields_dict(self.arguments)}

    def _value(self, name: str, kind: Any, value: Any) -> Any:
        schema = _schema(kind)
        if schema["type"] == "string" and type(value) is int:
            value = str(value)  # a model may send the digits 4242 as a number
        try:
            converted = msgspec.convert(value, kind, strict=False)
        except msgspec.ValidationError as error:
            raise self._refused(name, kind) from error
        # msgspec searches, and to a search "$" is also the place before a last line break.
        if "pattern" in schema and not re.fullmatch(schema["pattern"], converted):
            raise self._refused(name, kind)
        return converted

    def _refused(self, name: str, kind: Any) -> BadArguments:
        return BadArguments(f"The argument {name} of {self.name} must be {_expectation(kind)}.")


@attrs.frozen
class Registry:
    """Tools in the order they are shown to the model. Two tools of one name are a ValueError."""

    tools: tuple[Tool, ...]

    def __attrs_post_init__(self) -> None:
        if len({tool.name for tool in self.tools}) != len(self.tools):
            raise ValueError("two tools have the same name")

    def __iter__(self) -> Iterator[Tool]:
        return iter(self.tools)

    def __len__(self) -> int:
        return len(self.tools)

    @property
    def argument_names(self) -> frozenset[str]:
        """Of all tools."""
        return frozenset(name for tool in self.tools for name in attrs.fields_dict(tool.arguments))

    @property
    def personal(self) -> frozenset[str]:
        """The names of all tools' personal arguments and fields."""
        return frozenset(name for tool in self.tools for name in (*tool.personal, *tool.free_texts()))

    def get(self, name: str) -> Tool:
        """The tool of that name. Raises UnknownTool."""
        for tool in self.tools:
            if tool.name == name:
                return tool
        raise UnknownTool(name, tuple(tool.name for tool in self.tools))


def _schema(kind: Any) -> dict[str, Any]:
    """The JSON schema of one type: int, str, float, bool, a Literal of texts, or a list, with or without Meta."""
    if get_origin(kind) is Annotated:
        inner, *notes = get_args(kind)
        schema = _schema(inner)
        for note in (note for note in notes if isinstance(note, msgspec.Meta)):
            if note.description is not None:
                schema["description"] = note.description
            if note.pattern is not None:
                schema["pattern"] = note.pattern
        return schema
    if get_origin(kind) is Literal:
        if not all(isinstance(choice, str) for choice in get_args(kind)):
            raise KeyError(kind)
        return {"type": "string", "enum": list(get_args(kind))}
    if get_origin(kind) is list:
        return {"type": "array", "items": _schema(get_args(kind)[0])}
    return {"type": _JSON_TYPES[kind]}


def _is_free_text(schema: Mapping[str, Any]) -> bool:
    if schema["type"] == "array":
        return _is_free_text(schema["items"])
    return schema["type"] == "string" and "enum" not in schema and "pattern" not in schema


def _expectation(kind: Any) -> str:
    """What an argument must be, in words, bounds included."""
    schema = _schema(kind)
    if "enum" in schema:
        return "one of " + ", ".join(schema["enum"])
    words = _NOUNS[schema["type"]]
    if "pattern" in schema:
        words += f" that matches {schema['pattern']}"
    notes = get_args(kind)[1:] if get_origin(kind) is Annotated else ()
    for note in (note for note in notes if isinstance(note, msgspec.Meta)):
        if note.ge is not None:
            words += f" from {note.ge}"
        if note.le is not None:
            words += f" to {note.le}"
        if note.max_length is not None:
            words += f" of at most {note.max_length} characters"
    return words


def tool_modules() -> tuple[str, ...]:
    """The names of the modules in this folder that bring tools: those that hold `TOOLS`."""
    names = sorted(found.name for found in pkgutil.iter_modules(tools.__path__))
    return tuple(name for name in names if hasattr(import_own(f"{tools.__name__}.{name}", BadTools), "TOOLS"))


def agent_tools(modules: Sequence[str] = ()) -> Registry:
    """The tools of these modules, of all when none is named. Raises BadTools."""
    known = tool_modules()
    for name in modules:
        if name not in known:
            raise BadTools(
                f"TOOLS={name!r}: there is no tools/{name}.py with TOOLS in it; there are: {', '.join(known)}"
            )
    found: list[Tool] = []
    for name in modules or known:
        for tool in importlib.import_module(f"{tools.__name__}.{name}").TOOLS:
            if not isinstance(tool, Tool):
                raise BadTools(f"tools/{name}.py: TOOLS must be Tool(...) objects, in a tuple or a list")
            if any(tool.name == other.name for other in found):
                raise BadTools(f"tools/{name}.py: {tool.name} is the name of another tool as well")
            found.append(tool)
    return Registry(tuple(found))
