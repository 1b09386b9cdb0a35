"""How values lie in a parameter node, their validators, and packs of them: half of slicer.parameterNodeWrapper.

Facts from Base/Python/slicer/parameterNodeWrapper (github.com/Slicer/Slicer).
"""

from __future__ import annotations

import collections
import dataclasses
import enum
import pathlib
import types
import typing
from collections.abc import Callable
from typing import Any

PATHS = (pathlib.Path, pathlib.PosixPath, pathlib.PurePath, pathlib.PurePosixPath)


def splitAnnotations(annotated: Any) -> tuple[Any, tuple[Any, ...]]:
    args = typing.get_args(typing.Annotated[annotated, None])
    return args[0], args[1:-1]


def unannotatedType(annotated: Any) -> Any:
    return splitAnnotations(annotated)[0]


def findFirstAnnotation(annotations: Any, kind: type) -> Any:
    return next((a for a in annotations if isinstance(a, kind)), None)


class Validator:
    """A check of one value; `holds` says whether it passes."""

    def __init__(self, *limits: Any) -> None:
        self.limits = limits

    def validate(self, value: Any) -> None:
        if not self.holds(value):
            raise ValueError(f"{value!r} does not fit {type(self).__name__}{self.limits}")


class NotNone(Validator):
    def holds(self, value: Any) -> bool:
        return value is not None


class Minimum(Validator):
    def __init__(self, minimum: Any) -> None:
        super().__init__(minimum)
        self.minimum = minimum

    def holds(self, value: Any) -> bool:
        return value >= self.minimum


class Maximum(Validator):
    def __init__(self, maximum: Any) -> None:
        super().__init__(maximum)
        self.maximum = maximum

    def holds(self, value: Any) -> bool:
        return value <= self.maximum


class WithinRange(Validator):
    def __init__(self, minimum: Any, maximum: Any) -> None:
        super().__init__(minimum, maximum)
        self.minimum, self.maximum = minimum, maximum

    def holds(self, value: Any) -> bool:
        return self.minimum <= value <= self.maximum


class Choice(Validator):
    def __init__(self, choices: Any) -> None:
        super().__init__(choices)
        self.choices = choices

    def holds(self, value: Any) -> bool:
        return value in self.choices


class Exclude(Choice):
    def holds(self, value: Any) -> bool:
        return value not in self.choices


class RangeBounds(WithinRange):
    def holds(self, value: Any) -> bool:
        return self.minimum <= value.minimum and value.maximum <= self.maximum


class Default:
    def __init__(self, value: Any = None, *, generator: Callable[[], Any] | None = None) -> None:
        self._value, self._generator = value, generator

    @property
    def value(self) -> Any:
        return self._generator() if self._generator else self._value


@dataclasses.dataclass
class Decimals:
    value: int


@dataclasses.dataclass
class SingleStep:
    value: float


class Scalar:
    """Text under the parameter's own name."""

    def __init__(self, kind: Any) -> None:
        self.kind = kind
        self.accepted = (int, float) if kind is float else kind

    def default(self) -> Any:
        if issubclass(self.kind, enum.Enum):
            return next(iter(self.kind))
        return 0 if self.kind is float else self.kind()

    def validate(self, value: Any) -> None:
        if value is None and not issubclass(self.kind, enum.Enum):
            raise ValueError("Value must not be None")
        if not isinstance(value, self.accepted):
            raise TypeError(f"Value must be of type '{self.kind}', is type '{type(value)}' value '{value}'")

    def isIn(self, node: Any, name: str) -> bool:
        return node.HasParameter(name)

    def write(self, node: Any, name: str, value: Any) -> None:
        if self.kind is bool:
            value = "True" if value else "False"
        node.SetParameter(name, value.name if isinstance(value, enum.Enum) else str(value))

    def read(self, node: Any, name: str) -> Any:
        text = node.GetParameter(name)
        if self.kind is bool:
            return text == "True"
        if not issubclass(self.kind, enum.Enum):
            return self.kind(text)
        if text not in self.kind.__members__:
            raise ValueError(f"Found {text!r} in parameter node but it is not a name in {self.kind!r}")
        return self.kind[text]

    def remove(self, node: Any, name: str) -> None:
        node.UnsetParameter(name)


class NodeKind(Scalar):
    """A node reference, with an empty parameter of the same name that says it was set."""

    def default(self) -> Any:
        return None

    def validate(self, value: Any) -> None:
        if value is not None:
            super().validate(value)

    def write(self, node: Any, name: str, value: Any) -> None:
        node.SetParameter(name, "")
        node.SetNodeReferenceID(name, value.GetID() if value is not None else None)

    def read(self, node: Any, name: str) -> Any:
        return node.GetNodeReference(name)

    def remove(self, node: Any, name: str) -> None:
        super().remove(node, name)
        node.RemoveNodeReferenceIDs(name)


class NoneKind(Scalar):
    def __init__(self) -> None:
        super().__init__(bool)

    def default(self) -> Any:
        return None

    def validate(self, value: Any) -> None:
        if value is not None:
            raise ValueError("Value must be None")

    def write(self, node: Any, name: str, value: Any) -> None:
        super().write(node, name, True)

    def read(self, node: Any, name: str) -> Any:
        return None


class Parts:
    """Values in several parameters, `name.0`, `name.1`, ..."""

    def __init__(self, kinds: list[Any]) -> None:
        self.kinds = kinds

    def remove(self, node: Any, name: str) -> None:
        for i, kind in enumerate(self.kinds):
            kind.remove(node, f"{name}.{i}")


class TupleKind(Parts):
    def default(self) -> Any:
        raise ValueError("Slicer makes a generator of it, which can be written once: give tuples a default")

    def validate(self, value: Any) -> None:
        for kind, part in zip(self.kinds, value, strict=True):
            kind.validate(part)

    def isIn(self, node: Any, name: str) -> bool:
        return self.kinds[0].isIn(node, f"{name}.0")

    def write(self, node: Any, name: str, value: Any) -> None:
        for i, (kind, part) in enumerate(zip(self.kinds, value, strict=True)):
            kind.write(node, f"{name}.{i}", part)

    def read(self, node: Any, name: str) -> Any:
        return tuple(kind.read(node, f"{name}.{i}") for i, kind in enumerate(self.kinds))


class UnionKind(Parts):
    """The value under the number of its type."""

    def default(self) -> Any:
        optional = len(self.kinds) == 2 and isinstance(self.kinds[1].inner, NoneKind)
        return None if optional else self.kinds[0].default()

    def _index(self, value: Any) -> int:
        for i, kind in enumerate(self.kinds):
            try:
                kind.validate(value)
            except (ValueError, TypeError):
                continue
            if value is not None or isinstance(kind.inner, NoneKind):
                return i
        raise TypeError(f"Unable to write value '{value}' of type '{type(value)}'")

    def validate(self, value: Any) -> None:
        self._index(value)

    def isIn(self, node: Any, name: str) -> bool:
        return any(kind.isIn(node, f"{name}.{i}") for i, kind in enumerate(self.kinds))

    def write(self, node: Any, name: str, value: Any) -> None:
        index = self._index(value)
        self.remove(node, name)
        self.kinds[index].write(node, f"{name}.{index}", value)

    def read(self, node: Any, name: str) -> Any:
        index = next(i for i, kind in enumerate(self.kinds) if kind.isIn(node, f"{name}.{i}"))
        return self.kinds[index].read(node, f"{name}.{index}")


class ObservedList(collections.UserList):
    """A list that is stored whenever it changes; + and * are refused, as in Slicer."""

    def __init__(self, values: list[Any], save: Callable[[list[Any]], None], load: Callable[[], list[Any]]) -> None:
        super().__init__()
        self.data = values
        self._save, self._load = save, load

    def __add__(self, other: Any) -> Any:
        raise NotImplementedError("Adding an ObservedList is not supported. However, += is supported.")

    __radd__ = __mul__ = __rmul__ = __add__


def _saving(name: str) -> Any:
    def change(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = getattr(self.data, name)(*args, **kwargs)
        try:
            self._save(self.data)
        finally:
            self.data = self._load()
        return self if name in ("__iadd__", "__imul__") else result

    return change


for _name in ("append", "extend", "insert", "remove", "pop", "clear", "sort", "reverse", "__setitem__", "__delitem__",
              "__iadd__", "__imul__"):  # fmt: skip
    setattr(ObservedList, _name, _saving(_name))


class ListKind:
    """`name.len` and `name.0`, `name.1`, ..."""

    def __init__(self, kind: Any) -> None:
        self.kind = kind

    def default(self) -> Any:
        return []

    def validate(self, value: Any) -> None:
        """The elements are checked when they are written."""

    def _len(self, node: Any, name: str) -> int:
        return int(node.GetParameter(f"{name}.len") or 0)

    def isIn(self, node: Any, name: str) -> bool:
        return node.HasParameter(f"{name}.len")

    def write(self, node: Any, name: str, values: Any) -> None:
        for value in values:
            self.kind.validate(value)
        old = self._len(node, name)
        for i, value in enumerate(values):
            self.kind.write(node, f"{name}.{i}", value)
        node.SetParameter(f"{name}.len", str(len(values)))
        for i in range(len(values), old):
            self.kind.remove(node, f"{name}.{i}")

    def read(self, node: Any, name: str) -> Any:
        def load() -> list[Any]:
            return [self.kind.read(node, f"{name}.{i}") for i in range(self._len(node, name))]

        def save(values: list[Any]) -> None:
            with modify(node):
                self.write(node, name, values)

        return ObservedList(load(), save, load)

    def remove(self, node: Any, name: str) -> None:
        for i in range(self._len(node, name)):
            self.kind.remove(node, f"{name}.{i}")
        node.UnsetParameter(f"{name}.len")


class PackKind:
    """Each member under `name.member`."""

    def __init__(self, pack: Any) -> None:
        self.pack = pack
        self.members = {name: info.kind for name, info in pack.allParameters.items()}

    def default(self) -> Any:
        return self.pack()

    def validate(self, value: Any) -> None:
        if not isinstance(value, self.pack):
            raise ValueError(f"Value must be of type '{self.pack}', is type '{type(value)}'")

    def isIn(self, node: Any, name: str) -> bool:
        first, kind = next(iter(self.members.items()))
        return kind.isIn(node, f"{name}.{first}")

    def write(self, node: Any, name: str, value: Any) -> None:
        with modify(node):
            for member, kind in self.members.items():
                kind.write(node, f"{name}.{member}", value._values[member])

    def read(self, node: Any, name: str) -> Any:
        values = {member: kind.read(node, f"{name}.{member}") for member, kind in self.members.items()}
        observed = object.__new__(self.pack)
        observed._values = values

        def save() -> None:
            try:
                self.write(node, name, observed)
            finally:
                values.update({member: kind.read(node, f"{name}.{member}") for member, kind in self.members.items()})

        observed.__dict__["_save"] = save
        return observed

    def remove(self, node: Any, name: str) -> None:
        for member, kind in self.members.items():
            kind.remove(node, f"{name}.{member}")


class Checked:
    """A kind with the validators that were annotated."""

    def __init__(self, inner: Any, validators: list[Any]) -> None:
        self.inner, self.validators = inner, validators

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def validate(self, value: Any) -> None:
        self.inner.validate(value)
        for validator in self.validators:
            validator.validate(value)

    def write(self, node: Any, name: str, value: Any) -> None:
        self.validate(value)
        with modify(node):
            self.inner.write(node, name, value)


def modify(node: Any) -> Any:
    import slicer.util

    return slicer.util.NodeModify(node)


def is_node(kind: Any) -> bool:
    import slicer

    return isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode)


def _kind(annotated: Any) -> Checked:
    kind, annotations = splitAnnotations(annotated)
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if kind is type(None):
        inner: Any = NoneKind()
    elif origin in (typing.Union, types.UnionType):
        inner = UnionKind([_kind(arg) for arg in args])
    elif origin is list and len(args) == 1:
        inner = ListKind(_kind(args[0]))
    elif origin is tuple and args:
        inner = TupleKind([_kind(arg) for arg in args])
    elif isParameterPack(kind):
        inner = PackKind(kind)
    elif is_node(kind):
        inner = NodeKind(kind)
    elif kind in (int, float, bool, str, *PATHS) or (isinstance(kind, type) and issubclass(kind, enum.Enum)):
        inner = Scalar(kind)
    else:
        raise Exception(f"Unable to create serializer for type: {kind}")
    return Checked(inner, [a for a in annotations if isinstance(a, Validator)])


class Info:
    """One parameter of a pack or wrapper: its kind in the node, its default, its annotated type."""

    def __init__(self, owner: type, name: str, annotated: Any) -> None:
        self.kind, self.type = _kind(annotated), annotated
        notes = splitAnnotations(annotated)[1]
        default = findFirstAnnotation(notes, Default) or Default(generator=self.kind.default)
        self.default = Default(getattr(owner, name)) if hasattr(owner, name) else default
        self.unused = [a for a in notes if not isinstance(a, Validator | Default)]


def read_class(cls: type) -> dict[str, Info]:
    hints = typing.get_type_hints(cls, include_extras=True)
    if not hints:
        raise ValueError(f"Unable to find any members in {cls}")
    for name in hints:
        if name in ("allParameters", "default", "dataType", "getValue", "setValue", "connectGui", "disconnectGui"):
            raise ValueError(f"Cannot use reserved name '{name}'")
    return {name: Info(cls, name, annotated) for name, annotated in hints.items()}


def info_of(parameters: dict[str, Info], dotted: str) -> Info:
    top, _, rest = dotted.partition(".")
    if top not in parameters:
        raise ValueError(f"Cannot find a param with the given name: {top}")
    if not rest:
        return parameters[top]
    pack = unannotatedType(parameters[top].type)
    if not isParameterPack(pack):
        raise ValueError(f"{pack} is not a parameter pack but expects to have '{rest}'")
    return info_of(pack.allParameters, rest)


def isParameterPack(obj: Any) -> bool:
    return getattr(obj, "_is_parameterPack", False)


def nestedParameterNames(pack: Any) -> list[str]:
    names = []
    for name, info in unannotatedType(pack).allParameters.items():
        inner = unannotatedType(info.type)
        names += [f"{name}.{n}" for n in nestedParameterNames(inner)] if isParameterPack(inner) else [name]
    return names


def parameterPack(cls: Any = None) -> Any:
    if cls is None:
        return parameterPack
    cls.allParameters = read_class(cls)
    for name, info in cls.allParameters.items():
        if info.unused:
            print("Warning: unused annotations", info.unused)
        info.kind.validate(info.default.value)
        setattr(cls, name, property(lambda self, n=name: self._values[n], lambda self, v, n=name: _set(self, n, v)))
    for name, function in {"__init__": _init, "__eq__": _equal, "__repr__": _text, "__str__": _text}.items():
        if name not in cls.__dict__ or name == "__eq__":
            setattr(cls, name, function)
    cls._is_parameterPack, cls._save, cls.__setattr__ = True, staticmethod(lambda: None), _set_attribute
    cls.getValue = lambda self, dotted: walk(self, dotted)
    cls.setValue = lambda self, dotted, value: (set_dotted(self, dotted, value), self._save())[0]
    cls.dataType = staticmethod(lambda dotted: info_of(cls.allParameters, dotted).type)
    return cls


def _init(self: Any, *args: Any, **kwargs: Any) -> None:
    given = dict(zip(self.allParameters, args, strict=False), **kwargs)
    unknown = set(given) - set(self.allParameters)
    if unknown:
        raise TypeError(f"__init__() got an unexpected keyword argument '{unknown.pop()}'")
    self._values = {}
    for name, info in self.allParameters.items():
        value = given.get(name, info.default.value)
        info.kind.validate(value)
        self._values[name] = value


def _set(self: Any, name: str, value: Any) -> None:
    self.allParameters[name].kind.validate(value)
    self._values[name] = value
    self._save()


def _set_attribute(self: Any, name: str, value: Any) -> None:
    if "_save" in self.__dict__ and not hasattr(self, name):
        raise AttributeError(f"{type(self).__name__} has no attribute '{name}', and it is kept in the scene")
    object.__setattr__(self, name, value)


def _equal(self: Any, other: Any) -> bool:
    return type(self) is type(other) and self._values == other._values


def _text(self: Any) -> str:
    return f"{type(self).__name__}({', '.join(f'{n}={v!r}' for n, v in self._values.items())})"


def walk(obj: Any, dotted: str) -> Any:
    for name in dotted.split("."):
        if name not in obj.allParameters:
            raise ValueError(f"{obj} has no member '{name}'")
        obj = getattr(obj, name)
    return obj


def set_dotted(self: Any, dotted: str, value: Any) -> None:
    path, _, last = dotted.rpartition(".")
    setattr(walk(self, path) if path else self, last, value)
