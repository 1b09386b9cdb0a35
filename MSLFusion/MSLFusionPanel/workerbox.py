"""The worker's box: what runs where, and the choice of a worker that the user started."""

from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from MSLFusionPanel.words import as_sentence, size_in_words

if TYPE_CHECKING:
    from MSLFusionPanel.section import Section

_BUTTONS = ("remoteCheckBox", "workerConnectButton", "workerRestartButton")


class WorkerBox:
    """Shows the worker and lets the user choose, connect and restart it. The token stays in the field alone."""

    def __init__(self, section: "Section") -> None:
        self._section = section
        self._panel = section.panel
        self._worker = section.logic.worker
        self._failure = ""
        self._tips = {name: getattr(section.ui, name).toolTip for name in _BUTTONS}
        section.ui.remoteCheckBox.checked = self._worker.where != "local"
        self._worker.on_message.append(self._tell)
        section.on(section.ui.remoteCheckBox, "toggled(bool)", self._toggled)
        section.on(section.ui.workerConnectButton, "clicked()", self.connect)
        section.on(section.ui.tokenLineEdit, "returnPressed()", self.connect)
        section.on(section.ui.workerRestartButton, "clicked()", self.restart)

    def update(self) -> None:
        """Show the worker's state."""
        ui, remote = self._section.ui, self._section.ui.remoteCheckBox.checked
        if self._worker.state == "running" and (self._panel.task is not None or self._worker.where != "local"):
            self._failure = ""  # what was told of an earlier worker is over
        ui.workerInfo.text = self._in_words()
        busy = _("A job is running: wait for it or cancel it.") if self._panel.task is not None else ""
        for name in ("portSpinBox", "portSpinBoxLabel", "tokenLineEdit", "tokenLineEditLabel"):
            getattr(ui, name).enabled = remote
        reasons = {
            "remoteCheckBox": busy,
            "workerConnectButton": busy or ("" if remote else _("Only for a worker that you started.")),
            "workerRestartButton": _("A worker that you started is not restarted from here.") if remote else "",
        }
        for name, reason in reasons.items():
            widget = getattr(ui, name)
            widget.enabled = not reason
            widget.toolTip = reason or self._tips[name]
        self._section.message("workerMessage", self._failure, "failure")

    def connect(self) -> None:
        """Use the worker at the chosen port."""
        ui = self._section.ui
        if not ui.workerConnectButton.enabled:
            return
        token = ui.tokenLineEdit.text.strip()
        self._failure = "" if token else _("Enter the token that the worker printed when it was started.")
        if token:
            self._worker.stop()
            self._worker.use_remote(ui.portSpinBox.value, token)
            self._worker.ensure()
        self._panel.changed()

    def restart(self) -> None:
        """End our own worker and start it again."""
        self._worker.restart(_("The worker was restarted; what it held is gone."))
        self._failure = ""
        self._panel.changed()

    def _toggled(self, remote: bool) -> None:
        self._failure = ""
        if not remote:
            self._worker.use_local()
        self._panel.changed()

    def _tell(self, sentence: str) -> None:
        """A sentence of the worker's that the user must know."""
        self._failure = as_sentence(sentence)
        self._section.ui.workerBox.collapsed = False
        self._panel.changed()

    def _in_words(self) -> str:
        worker, info = self._worker, self._worker.info or {}
        remote = worker.where != "local"
        if self._section.ui.remoteCheckBox.checked and not remote:
            return _("Enter port and token of the worker that you started, then press Connect.")
        if worker.state == "starting":
            return _("Connecting to {where} ...").format(where=worker.where) if remote else _("Starting ...")
        if worker.state != "running":
            if remote:
                return _("Not connected to {where}.").format(where=worker.where)
            return _("Not running; it starts by itself when it is needed.")
        words = [
            _("Connected at {where} (process {pid} there)") if remote else _("Running on this machine (process {pid})"),
            _torch(info),
        ]
        if info.get("cores"):
            words.append(_("1 core") if info["cores"] == 1 else _("{cores} cores"))
        if info.get("free_bytes"):
            words.append(_("{free} of memory free at its start"))
        return (
            _(", ")
            .join(words)
            .format(
                where=worker.where,
                pid=info.get("pid", "?"),
                cores=info.get("cores"),
                free=size_in_words(info.get("free_bytes") or 0),
            )
            + "."
        )


def _torch(info: Any) -> str:
    """Which PyTorch the worker has, in words without braces."""
    version = str((info.get("versions") or {}).get("torch", ""))
    if not info.get("torch"):
        return _("without PyTorch")
    return "PyTorch " + version.replace("{", "").replace("}", "") if version else "PyTorch"
