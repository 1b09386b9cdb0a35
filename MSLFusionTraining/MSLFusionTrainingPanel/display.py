"""Curves and pictures of a run in Slicer's views, once they were asked for and for as long as they are there."""

from MSLFusionTrainingPanel import layouts
from MSLFusionTrainingPanel.curves import Curves
from MSLFusionTrainingPanel.pictures import Pictures
from MSLFusionTrainingPanel.watch import Glimpse


class Display:
    """curves, samples: whether they are wanted, for the watcher."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self.curves = self.samples = self._arrange = False
        self._charts = self._before = 0
        self._curves, self._pictures = Curves(), Pictures()

    @property
    def shown(self) -> bool:
        """Whether anything is."""
        return self.curves or self.samples

    def want_curves(self) -> None:
        """Show the curves from the next look on."""
        self.curves = self._arrange = True
        self._curves.fit()

    def want_samples(self) -> None:
        """Show the pictures from the next look on."""
        self.samples = self._arrange = True

    def show(self, glimpse: Glimpse, title: str) -> None:
        """Bring into the scene what a look has found."""
        if self.curves and not self._arrange and not self._curves.present:
            self.curves = False  # the user has removed them
        if self.samples and self._pictures.rows and not self._pictures.present:
            self._pictures.remove()
            self.samples = False
        charts = []
        if self.curves and glimpse.course is not None:
            charts = self._curves.show(glimpse.course, title)
        made = self.samples and glimpse.sample is not None and self._pictures.show(glimpse.sample)
        more = len(charts) > self._charts and layouts.shown()
        self._charts = len(charts)
        if (self._arrange and (charts or self._pictures.rows)) or made or more:
            self._arrange = False
            self._before = layouts.arrange(self._pictures.rows if self.samples else [], charts) or self._before

    def another_run(self) -> None:
        """Another run is looked at: what was shown goes, and comes again once that run has something to show."""
        curves, samples = self.curves, self.samples
        self.remove()
        self.curves, self.samples = curves, samples
        self._arrange = self.shown

    def remove(self) -> None:
        """Take everything out of the scene."""
        self._curves.remove()
        self._pictures.remove()
        self.forget()

    def forget(self) -> None:
        """The nodes are gone: nothing is shown until it is asked for again."""
        layouts.leave(self._before)
        self._begin()
