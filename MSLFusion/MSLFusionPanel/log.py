"""The log at the end of the panel: what was done and when. No names of patients, files or nodes belong in it."""

import time

import qt

from MSLFusionPanel.section import Section


class LogSection(Section):
    """Sentences with the time of day, to be copied into a report."""

    def setup(self) -> None:
        """Connect the widgets."""
        self.on(self.ui.copyLogButton, "clicked()", self.copy)
        self.on(self.ui.clearLogButton, "clicked()", self.clear)

    def update(self) -> None:
        """Nothing to copy, nothing to press."""
        written = not self.ui.logText.document().isEmpty()
        self.ui.copyLogButton.enabled = self.ui.clearLogButton.enabled = written

    def add(self, sentence: str) -> None:
        """Write a sentence at the end."""
        self.ui.logText.appendPlainText(f"{time.strftime('%H:%M:%S')} {' '.join(sentence.split())}")
        self.ui.copyLogButton.enabled = self.ui.clearLogButton.enabled = True

    def copy(self) -> None:
        """Put all of it on the clipboard."""
        qt.QApplication.clipboard().setText(self.ui.logText.toPlainText())

    def clear(self) -> None:
        """Forget all of it."""
        self.ui.logText.clear()
        self.update()
