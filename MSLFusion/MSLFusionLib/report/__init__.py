"""One self-contained HTML page that shows what a run did, and how well."""

from MSLFusionLib.report.compose import figures_of, write_report
from MSLFusionLib.report.data import ReportData, focus_of

__all__ = ["ReportData", "figures_of", "focus_of", "write_report"]
