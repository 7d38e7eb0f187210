"""The errors that a user can meet. Each names the file, the field, the value and what is allowed."""


class ModitError(Exception):
    """Base of every error that modit raises on purpose."""


class ContractError(ModitError):
    """An input breaks the input contract (file, column, row and rule are named).

    Attributes:
        breaches: (file, rule, how often, one line about it) of each, where they are known one by one.
    """

    def __init__(self, message: str, breaches: tuple[tuple[str, str, int, str], ...] = ()) -> None:
        super().__init__(message)
        self.breaches = breaches


class ConfigError(ModitError):
    """A parameter is outside its range or unknown."""


class MissingExtraError(ModitError, ImportError):
    """A package is missing; the message says which extra of modit has it."""


class SealedError(ConfigError):
    """A step would write into a part of a run that a promoted version relies on; nothing was run."""


class ArtifactError(ModitError):
    """An artifact is missing, damaged, or not the one that was pinned."""


class InsufficientDataError(ModitError):
    """There is too little data to do the step honestly; the message says how much is needed."""


class MemoryBudgetError(ModitError):
    """The estimate of the memory needed is over the budget."""


class GraphError(ModitError):
    """The steps' declarations do not fit together."""


class UpstreamFailedError(ModitError):
    """A task was not run, because one that it depends on has failed; the message says which, and why."""


class TransientError(ModitError):
    """Something outside failed or is busy; trying again may help, and orchestrators do."""


class ArtifactChangedError(ArtifactError, TransientError):
    """An artifact was published again while it was read; the next attempt finds the new one."""


class LockedError(TransientError):
    """Another process holds a lock for longer than this one may wait; the message names it."""


class VersionError(TransientError):
    """DVC could not version or fetch data; the message has what it said."""


class RunBusyError(TransientError):
    """Another process is running the same step of the same run, or holds what it needs."""


class UnknownItemError(ModitError):
    """An item id is not in the online store: never published, or removed."""


class FeatureParityError(ModitError):
    """What the feature store answers is not what the run computed."""


class ServerError(ModitError):
    """A server that was asked does not answer, or refuses; the message has what it said."""
