"""What the sections of the panel have in common."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from MSLFusionPanel.panel import Panel
    from MSLFusionPanel.parameters import MSLFusionParameterNode


class Section:
    """One section: its widgets in the .ui, its pack of parameters, its messages.

    A section holds no state that the parameter node, the scene or the worker could hold. The panel calls, always on
    the main thread: `setup` once; `update` after anything changed (parameters, nodes, worker, running work) and
    whenever a parameter node was set, or `withdraw` where it does not apply then; `scene_closed` when the nodes are
    gone; `cleanup` at the end.
    """

    def __init__(self, panel: "Panel") -> None:
        self.panel = panel
        self.ui = panel.ui
        self.logic = panel.logic
        self._said: set[str] = set()

    @property
    def parameters(self) -> "MSLFusionParameterNode":
        """The present parameter node; only inside `update` and slots, never kept."""
        return self.panel.parameters

    def setup(self) -> None:
        """Connect the widgets."""

    def applies(self) -> bool:
        """Whether the section belongs to what was chosen."""
        return True

    def withdraw(self) -> None:
        """It does not apply (any more): what it says must not keep anything from being done."""
        for label in self._said:
            self.message(label)

    def update(self) -> None:
        """Show the present state: messages by `self.message`, what is enabled, information lines. Cheap: no voxels."""

    def enter(self) -> None:
        """The module is shown."""

    def exit(self) -> None:
        """Another module is shown."""

    def scene_closed(self) -> None:
        """All nodes are gone: forget what belonged to them."""

    def node_leaves(self, node: Any) -> None:
        """A node is about to be removed; what the parameters' packs hold is forgotten already."""

    def cleanup(self) -> None:
        """The module ends."""

    def message(self, label: str, sentence: str = "", kind: str = "error") -> None:
        """Show a sentence at a field, in the .ui's label of that name; an empty one hides it.

        kind: "error" keeps Apply disabled while it is shown, and so does "needed": nothing is wrong, but something has
        still to be chosen or done. "warning" and "info" do not. "failure" is the error of something that was tried: it
        does not keep Apply disabled, and stays until the next attempt.
        """
        self._said.add(label)
        self.panel.messages.show(label, sentence, kind)

    def on(self, widget: Any, signal: str, slot: Any) -> None:
        """Connect a slot that is not called while the panel is filled from the parameter node or has none."""

        def guarded(*arguments: Any) -> None:
            if self.panel.parameters is not None and not self.panel.updating:
                slot(*arguments)

        widget.connect(signal, guarded)
