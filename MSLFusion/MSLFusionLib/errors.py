"""The errors a user can meet: each carries one clear sentence and the exit code of the command line."""


class MSLFusionError(Exception):
    """Base of all errors that are shown to a user as one line, without a traceback."""

    exit_code = 1


class InputError(MSLFusionError):
    """Wrong usage or unusable input: the sentence names the file or value and says what to do."""

    exit_code = 2


class JobError(MSLFusionError):
    """The input was fine, but the job could not be finished."""


class Cancelled(MSLFusionError):
    """The user asked a running job to stop."""
