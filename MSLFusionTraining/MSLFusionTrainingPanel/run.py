"""Section 3: the training itself. It is a process of its own, which the panel starts, watches and stops."""

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from MSLFusionLib.errors import InputError
from MSLFusionPanel import install, paths
from MSLFusionPanel.process import batch_command, environment
from MSLFusionPanel.section import Section
from MSLFusionPanel.words import as_sentence
from MSLFusionTrainingLib import launch, runfolder
from MSLFusionTrainingLib.runfolder import Look
from MSLFusionTrainingLib.status import Status
from MSLFusionTrainingPanel import runs, runwords
from MSLFusionTrainingPanel.display import Display
from MSLFusionTrainingPanel.watch import Glimpse, Watcher

_TICK_MS = 250
_EVERY_S, _AT_REST_S = 1.0, 3.0
"""Seconds between two looks at a run that trains, and at one that does not."""
_SILENCE_S = 5.0
"""Seconds after which a disk that does not answer is told of."""
_SETTINGS = "train.toml"
_BUTTONS = ("startButton", "pauseButton", "resumeButton", "killButton", "curvesButton", "samplesButton")


class RunSection(Section):
    """Folder, known runs, buttons, state, curves, pictures and log of one run.

    Whatever happens in the folder is seen by looking at it; nothing depends on who started the training, or when.
    look: what was seen last. state: that of `look`, "starting" from the press of a button on, and "unknown" while the
    disk does not answer.
    """

    def __init__(self, panel: Any) -> None:
        super().__init__(panel)
        self.look = Look("none")
        self.display = Display()
        self._watcher: Watcher | None = None
        self._glimpse: Glimpse | None = None
        self._looked = -_EVERY_S
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._failure = ""
        self._killed: Status | None = None
        self._left: Path | None = None
        self._listed: list[str] = []
        self._tips = {name: getattr(self.ui, name).toolTip for name in _BUTTONS}
        self._timer = qt.QTimer()
        self._timer.setInterval(_TICK_MS)

    @property
    def folder(self) -> Path | None:
        """The folder that is chosen, None without one."""
        text = "" if self.panel.parameters is None else self.parameters.run.folder.strip()
        return Path(text) if text else None

    @property
    def state(self) -> str:
        """See the class."""
        if self.folder is None:
            return "none"
        if self._watcher is None or self._watcher.folder != self.folder:
            return "unknown"
        if self._glimpse is None or self._glimpse.trouble or self._watcher.waits_s > _SILENCE_S:
            return "unknown"
        return "starting" if self._starting else self.look.state

    @property
    def _starting(self) -> bool:
        """Whether a process that was started here has not told of itself yet."""
        status = self.look.status
        return self._process is not None and (status is None or status.began < self._started)

    def setup(self) -> None:
        """Connect the widgets."""
        ui = self.ui
        paths.listen(self, ui.runFolderPath, self.open)
        self.on(ui.knownRunsComboBox, "activated(int)", self._known_run_chosen)
        self.on(ui.startButton, "clicked()", self.start)
        self.on(ui.pauseButton, "clicked()", self.pause)
        self.on(ui.resumeButton, "clicked()", self.resume)
        self.on(ui.killButton, "clicked()", self.kill)
        self.on(ui.curvesButton, "clicked()", self.show_curves)
        self.on(ui.samplesButton, "clicked()", self.show_samples)
        self._timer.connect("timeout()", self.tick)

    def enter(self) -> None:
        """The module is shown: look at the run from now on, and at the last one when none is chosen."""
        known = runs.known_runs()
        if self.folder is None and known:
            self.parameters.run.folder = str(known[0])
        self._timer.start()

    def exit(self) -> None:
        """Another module is shown: curves and pictures go on."""
        if not self.display.shown:
            self._timer.stop()

    def scene_closed(self) -> None:
        """Curves and pictures went with the scene; the training does not care, and is looked at further on."""
        self.display.forget()
        self._left = None if self._watcher is None else self._watcher.folder

    def cleanup(self) -> None:
        """The module ends; the training goes on."""
        self._timer.stop()
        self._timer.disconnect("timeout()", self.tick)
        self.display.remove()
        if self._watcher is not None:
            self._watcher.close()
        self._let_go()

    def open(self, folder: str | Path) -> None:
        """Choose the folder of a run."""
        self.parameters.run.folder = str(folder)

    def start(self) -> None:
        """Start a new run with the configuration of the panel."""
        folder = self.folder
        if folder is None or not self.ui.startButton.enabled or not self._packages():
            return
        try:
            text, words = self.panel.config_text(), self.panel.train_words()
            folder.mkdir(parents=True, exist_ok=True)
            (folder / _SETTINGS).write_text(text, encoding="utf-8")
        except InputError as error:
            self._fail(str(error))
        except OSError as error:
            self._fail(_("{folder} cannot be written: {reason}").format(folder=folder, reason=error.strerror or error))
        else:
            self._launch(folder, ["train", str(folder / _SETTINGS), "--output", str(folder), *words])
            self.panel.tell(_("The training was started."))

    def resume(self) -> None:
        """Go on with the run in the folder, with its own settings."""
        folder = self.folder
        if folder is None or not self.ui.resumeButton.enabled or not self._packages():
            return
        words = runfolder.words_to_go_on(folder, self.look.status)
        if self.look.saved is None:  # it was stopped before it had a state to keep its settings in
            words.insert(1, str(folder / _SETTINGS))
        self._launch(folder, words)
        self.panel.tell(_("The training was resumed."))

    def pause(self) -> None:
        """Ask the training to save its state and end."""
        self._try(runfolder.request_stop)

    def kill(self) -> None:
        """End the training at once, when the user agrees."""
        if self.folder is None or self.look.status is None:
            return
        question = _(
            "End the training at once? What it did since iteration {saved} is lost; Resume goes on from there."
        )
        if self.look.saved is None:
            question = _("End the training at once? It has not saved anything yet.")
        if slicer.util.confirmOkCancelDisplay(
            question.format(saved=self.look.saved), _("MSL Fusion Training"), parent=self.panel.root
        ):
            self._killed = self.look.status
            self._try(runfolder.kill)
            self.panel.tell(_("The training was killed."))

    def show_curves(self) -> None:
        """Plot the loss and the validation, and go on doing so."""
        self.display.want_curves()
        self._look_now()

    def show_samples(self) -> None:
        """Show the pictures of the last validation, and of those to come."""
        self.display.want_samples()
        if self._watcher is not None:
            self._watcher.show_again()
        self._look_now()

    def tick(self) -> None:
        """Look at the folder when it is time; never waits for its disk."""
        if self.panel.parameters is None:
            return
        watcher = self._followed(self.folder)
        if watcher is None:
            return
        busy = self.look.active or self._process is not None
        if not watcher.waits_s and time.monotonic() - self._looked < (_EVERY_S if busy else _AT_REST_S):
            return
        watcher.wants_course, watcher.wants_sample = self.display.curves, self.display.samples
        glimpse = watcher.glimpse()
        if glimpse is not None:
            self._looked = time.monotonic()
            self._take(glimpse)
        elif watcher.waits_s > _SILENCE_S:
            self.panel.changed()

    def update(self) -> None:
        """Show the present state."""
        if self._left is not None:
            left, self._left = self._left, None
            self.parameters.run.folder = self.parameters.run.folder or str(left)
        ui, folder = self.ui, self.folder
        self._followed(folder)
        state = self.state
        paths.show(ui.runFolderPath, "" if folder is None else str(folder))
        self._list_runs(folder)
        now = Look("starting", None, self.look.saved) if self._starting else self.look
        ui.runStateLabel.text = "" if folder is None or state == "unknown" else runwords.state_in_words(now)
        ui.runStateLabel.setVisible(bool(ui.runStateLabel.text))
        ui.memoryLabel.text = runwords.memory_in_words(now) if state != "unknown" else ""
        ui.memoryLabel.setVisible(bool(ui.memoryLabel.text))
        self._show_progress(now)
        self._show_log()
        self._show_message(folder, state)
        why = self._why_not(folder, state)
        for name in _BUTTONS:
            button = getattr(ui, name)
            button.enabled = not why[name]
            button.toolTip = why[name] or self._tips[name]

    def _followed(self, folder: Path | None) -> Watcher | None:
        """The watcher of the folder; another run is forgotten."""
        if (None if self._watcher is None else self._watcher.folder) == folder:
            return self._watcher
        if self._watcher is not None:
            self._watcher.close()
        self._watcher = None if folder is None else Watcher(folder)
        self._let_go()
        self._glimpse, self.look, self._failure = None, Look("none"), ""
        self._looked = -_AT_REST_S
        self.display.another_run()
        self.panel.changed()
        return self._watcher

    def _take(self, glimpse: Glimpse) -> None:
        """What a look at the folder found."""
        self._glimpse = glimpse
        self.look = glimpse.look
        if not glimpse.trouble and glimpse.look.state != "none":
            runs.remember_run(glimpse.folder)
        self._follow_process()
        status = self.look.status
        name = status.name if status is not None and status.name else glimpse.folder.name
        self.display.show(glimpse, name)
        self.panel.changed()

    def _follow_process(self) -> None:
        """Take note of the end of the process that was started here; how a training ends, its status tells."""
        if self._process is None or self._process.poll() is None:
            return
        if self._starting:
            words = self._glimpse.log.splitlines() if self._glimpse is not None else []
            self._failure = runwords.why_it_did_not_start(words, self._process.returncode)
        self._process = None

    def _let_go(self) -> None:
        """Wait for the process that was started here no longer; it goes on."""
        if self._process is not None and self._process.poll() is None:
            self._process.returncode = 0  # else Python warns of it
        self._process = None

    def _launch(self, folder: Path, words: Sequence[str]) -> None:
        self._failure = ""
        try:
            self._started = time.time()
            self._process = launch.start(batch_command(*words), folder, environment())
        except InputError as error:
            self._fail(str(error))
            return
        runs.remember_run(folder)
        self._look_now()

    def _try(self, act: Any) -> None:
        """Do something to the run; what is wrong with that is told."""
        if self.folder is None:
            return
        self._failure = ""
        try:
            act(self.folder)
        except InputError as error:
            self._fail(str(error))
        except OSError as error:
            self._fail(error.strerror or str(error))
        self._look_now()

    def _fail(self, sentence: str) -> None:
        self._failure = as_sentence(sentence)
        self.panel.changed()

    def _look_now(self) -> None:
        self._looked = -_AT_REST_S
        self._timer.start()
        self.panel.changed()

    def _packages(self) -> bool:
        """Whether the packages are there that a training needs; the user is asked to install them."""
        problem = install.ready(self.panel.tell, self.panel.root)
        if problem:
            self._fail(problem)
        return not problem

    def _known_run_chosen(self, index: int) -> None:
        if 0 < index <= len(self._listed):
            self.open(self._listed[index - 1])

    def _list_runs(self, folder: Path | None) -> None:
        """The known runs after a line that says how many there are; the chosen one is shown."""
        box = self.ui.knownRunsComboBox
        listed = [str(one) for one in runs.known_runs()]
        if listed != self._listed or not box.count:
            self._listed = listed
            box.clear()
            box.addItem(_("choose ...") if listed else _("none yet"))
            for one in listed:
                box.addItem(runwords.short(one))
                box.setItemData(box.count - 1, one, qt.Qt.ToolTipRole)
        chosen = str(folder) if folder is not None else ""
        index = listed.index(chosen) + 1 if chosen in listed else 0
        if box.currentIndex != index:
            box.setCurrentIndex(index)
        box.enabled = bool(listed)

    def _show_progress(self, now: Look) -> None:
        bar, status = self.ui.runProgressBar, now.status
        shown = now.active and status is not None
        if shown and status is not None:
            beside = now.state == "starting" and status.total > 0
            done, total = (status.done, status.total) if beside else (status.iteration, status.iterations)
            bar.setRange(0, max(total, 1))
            bar.setValue(min(done, max(total, 1)))
        elif self._starting:
            shown = True
            bar.setRange(0, 0)
        bar.setVisible(shown)

    def _show_log(self) -> None:
        text, log = self.ui.logTextEdit, self._glimpse.log if self._glimpse is not None else ""
        if text.toPlainText() == log:
            return
        bar = text.verticalScrollBar()
        at_end, before = bar.value >= bar.maximum, bar.value
        text.setPlainText(log)
        bar.setValue(bar.maximum if at_end else before)

    def _show_message(self, folder: Path | None, state: str) -> None:
        if folder is None:
            self.message("runMessageLabel", _("Choose a folder for the run."), "needed")
        elif self._failure:
            self.message("runMessageLabel", self._failure, "failure")
        elif self._watcher is not None and self._watcher.waits_s > _SILENCE_S:
            self.message("runMessageLabel", runwords.trouble(folder, ""), "error")
        elif self._glimpse is not None and self._glimpse.trouble:
            self.message("runMessageLabel", runwords.trouble(folder, self._glimpse.trouble), "error")
        elif self._glimpse is not None and self._glimpse.foreign:
            sentence = _("The folder holds other files and no run: choose an empty or a new one.")
            self.message("runMessageLabel", sentence, "error")
        elif self._starting or self._was_killed_here():
            self.message("runMessageLabel")
        else:
            words = self._glimpse.log.splitlines() if self._glimpse is not None else []
            self.message("runMessageLabel", *runwords.message(self.look, words))

    def _was_killed_here(self) -> bool:
        """Whether the user has killed it: then there is nothing to explain."""
        status, killed = self.look.status, self._killed
        return self.look.state == runfolder.KILLED and bool(status and killed) and status.process == killed.process

    def _why_not(self, folder: Path | None, state: str) -> dict[str, str]:
        """Why each button cannot be pressed, "" where it can."""
        if folder is None:
            return dict.fromkeys(_BUTTONS, _("Choose a folder for the run."))
        if state == "unknown":
            return dict.fromkeys(_BUTTONS, _("The folder is being looked at."))
        active = self._starting or self.look.active
        stopping = _("It is stopping already.") if self.look.stopping else ""
        nothing = _("No training runs here.")
        here = self.look.status is not None and self.look.status.here
        errors = [one for one in self.panel.messages.errors() if one != self.panel.messages.text("runMessageLabel")]
        own = self.panel.messages.errors()[-1:] if self.panel.messages.blocks("runMessageLabel") else []
        reasons = dict.fromkeys(_BUTTONS, "")
        if active:
            reasons["startButton"] = reasons["resumeButton"] = _("A training is running here.")
            if self._starting:
                reasons["pauseButton"] = reasons["killButton"] = _("The training is just starting.")
            else:
                reasons["pauseButton"] = stopping
                reasons["killButton"] = "" if here else _("It runs on another computer, which alone can kill it.")
        else:
            reasons["pauseButton"] = reasons["killButton"] = nothing
            if self.look.saved is not None:
                reasons["startButton"] = _("The folder holds a run: choose another one for a new run.")
            reasons["startButton"] = reasons["startButton"] or next(iter([*own, *errors]), "")
            if not self.look.resumable:
                done = self.look.state == "finished"
                reasons["resumeButton"] = _("All of its iterations are done.") if done else _("There is no run here.")
        if self._glimpse is None or not self._glimpse.has_course:
            reasons["curvesButton"] = _("There are no curves yet.")
        if self._glimpse is None or not self._glimpse.has_sample:
            reasons["samplesButton"] = _("There are no pictures yet: they come with each validation.")
        return reasons
