"""The table api.txt: which properties, signals and methods Slicer's own widgets show to Python."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class ClassApi:
    """One class of CTK or Slicer as PythonQt shows it, without what it inherits."""

    name: str
    base: str
    source: str  # the header that these facts were read from
    properties: dict[str, str] = field(default_factory=dict)  # name -> C++ type, with "!" at the end if read-only
    signals: list[str] = field(default_factory=list)  # normalized signatures
    methods: list[str] = field(default_factory=list)  # public slots and Q_INVOKABLE
    enums: dict[str, int] = field(default_factory=dict)

    def lineage(self) -> list[ClassApi]:
        """This class and those of its base classes that are in the table, nearest first."""
        base = TABLE.get(self.base)
        return [self, *(base.lineage() if base else [])]

    def qt_base(self) -> str:
        """The class of Qt that this one derives from."""
        return self.lineage()[-1].base

    def signal(self, name: str) -> str | None:
        """The signature of the first signal with this bare name."""
        return next((s for a in self.lineage() for s in a.signals if bare(s) == name), None)

    def has_signal(self, signature: str) -> bool:
        return any(signature in a.signals for a in self.lineage())

    def has_method(self, name: str) -> bool:
        return any(bare(m) == name for a in self.lineage() for m in a.methods)

    def property_type(self, name: str) -> str | None:
        return next((a.properties[name] for a in self.lineage() if name in a.properties), None)

    def enum(self, name: str) -> int | None:
        return next((a.enums[name] for a in self.lineage() if name in a.enums), None)


def bare(signature: str) -> str:
    """The name without the arguments."""
    return signature.partition("(")[0]


def _read() -> dict[str, ClassApi]:
    table: dict[str, ClassApi] = {}
    kind, current = "", None
    for line in Path(__file__).with_name("api.txt").read_text(encoding="utf-8").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        words = line.split()
        if not line.startswith(" "):
            current = table[words[0]] = ClassApi(words[0], words[2], words[3])
            continue
        if not line.startswith("      "):
            kind, words = words[0], words[1:]
        if kind == "properties":
            current.properties.update(w.split(":", 1) for w in words)
        elif kind == "enums":
            current.enums.update((k, int(v)) for k, v in (w.split("=") for w in words))
        else:
            getattr(current, kind).extend(words)
    return table


TABLE = _read()
